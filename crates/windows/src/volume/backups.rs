//! Windows' own backups of recovery keys, and what it remembers of them.

use keyhaven_fve::Guid;

use super::{EncryptableVolume, about};
use crate::error::Error;
use crate::method;
use crate::state::BackupTypes;

impl EncryptableVolume<'_> {
    /// `BackupRecoveryInformationToActiveDirectory`: saves a recovery key to the organisation's Active Directory.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::BACKUP_RECOVERY_INFORMATION_TO_ACTIVE_DIRECTORY`].
    pub fn backup_recovery_information_to_active_directory(&self, protector: Guid) -> Result<(), Error> {
        self.call(
            &method::BACKUP_RECOVERY_INFORMATION_TO_ACTIVE_DIRECTORY,
            &about(protector),
        )
        .map(drop)
    }

    /// `BackupRecoveryInformationToCloudDomain`: saves a recovery key to the work or school account (Entra).
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::BACKUP_RECOVERY_INFORMATION_TO_CLOUD_DOMAIN`].
    pub fn backup_recovery_information_to_cloud_domain(&self, protector: Guid) -> Result<(), Error> {
        self.call(
            &method::BACKUP_RECOVERY_INFORMATION_TO_CLOUD_DOMAIN,
            &about(protector),
        )
        .map(drop)
    }

    /// `BackupRecoveryInformationToMicrosoftAccount`: saves a recovery key to the Microsoft account.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::BACKUP_RECOVERY_INFORMATION_TO_MICROSOFT_ACCOUNT`].
    pub fn backup_recovery_information_to_microsoft_account(&self, protector: Guid) -> Result<(), Error> {
        self.call(
            &method::BACKUP_RECOVERY_INFORMATION_TO_MICROSOFT_ACCOUNT,
            &about(protector),
        )
        .map(drop)
    }

    /// `GetNumericalPasswordBackupType`: tells where Windows remembers to have saved a recovery key.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::GET_NUMERICAL_PASSWORD_BACKUP_TYPE`].
    pub fn get_numerical_password_backup_type(&self, protector: Guid) -> Result<BackupTypes, Error> {
        let bits = self
            .call(&method::GET_NUMERICAL_PASSWORD_BACKUP_TYPE, &about(protector))?
            .number("BackupInfoType")?;
        Ok(BackupTypes(bits))
    }

    /// `GetNumericalPasswordBackupAccounts`: tells to which accounts.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::GET_NUMERICAL_PASSWORD_BACKUP_ACCOUNTS`].
    pub fn get_numerical_password_backup_accounts(&self, protector: Guid, bit: u32) -> Result<String, Error> {
        self.call(
            &method::GET_NUMERICAL_PASSWORD_BACKUP_ACCOUNTS,
            &about(protector).number("BackupInfoType", bit),
        )?
        .text("BackupAccounts")
    }
}
