//! The key protectors, and the keys in them.

use keyhaven_crypto::{SecretBytes, SecretText};
use keyhaven_fve::Guid;

use super::{EncryptableVolume, about, in_braces};
use crate::error::Error;
use crate::method;
use crate::state::ProtectorType;
use crate::value::{Arguments, Value};

impl EncryptableVolume<'_> {
    /// `GetKeyProtectors`: lists the key protectors, or those of one type.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::GET_KEY_PROTECTORS`].
    pub fn get_key_protectors(&self, of: Option<ProtectorType>) -> Result<Vec<Guid>, Error> {
        let mut arguments = Arguments::none();
        if let Some(of) = of {
            arguments = arguments.number("KeyProtectorType", of.number());
        }
        let ids = self
            .call(&method::GET_KEY_PROTECTORS, &arguments)?
            .texts("VolumeKeyProtectorID")?;
        ids.iter()
            .map(|id| {
                in_braces(id).ok_or_else(|| Error::Answer {
                    what: "VolumeKeyProtectorID",
                    expected: "identifiers in braces".to_owned(),
                    found: format!("`{id}`"),
                })
            })
            .collect()
    }

    /// `GetKeyProtectorType`: tells the type of a key protector.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::GET_KEY_PROTECTOR_TYPE`].
    pub fn get_key_protector_type(&self, protector: Guid) -> Result<ProtectorType, Error> {
        let number = self
            .call(&method::GET_KEY_PROTECTOR_TYPE, &about(protector))?
            .number("KeyProtectorType")?;
        Ok(ProtectorType::from_number(number))
    }

    /// `GetKeyProtectorFriendlyName`: tells the name that a key protector was given.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::GET_KEY_PROTECTOR_FRIENDLY_NAME`].
    pub fn get_key_protector_friendly_name(&self, protector: Guid) -> Result<String, Error> {
        self.call(&method::GET_KEY_PROTECTOR_FRIENDLY_NAME, &about(protector))?
            .text("FriendlyName")
    }

    /// `IsKeyProtectorAvailable`: tells whether there is a key protector of a type.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::IS_KEY_PROTECTOR_AVAILABLE`].
    pub fn is_key_protector_available(&self, of: ProtectorType) -> Result<bool, Error> {
        self.call(
            &method::IS_KEY_PROTECTOR_AVAILABLE,
            &Arguments::none().number("KeyProtectorType", of.number()),
        )?
        .bool("IsKeyProtectorAvailable")
    }

    /// `GetKeyProtectorNumericalPassword`: gives the 48 digits of a recovery protector.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::GET_KEY_PROTECTOR_NUMERICAL_PASSWORD`].
    pub fn get_key_protector_numerical_password(&self, protector: Guid) -> Result<SecretText, Error> {
        self.call(&method::GET_KEY_PROTECTOR_NUMERICAL_PASSWORD, &about(protector))?
            .secret_text("NumericalPassword")
    }

    /// `GetKeyProtectorExternalKey`: gives the 32 bytes of a key file.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::GET_KEY_PROTECTOR_EXTERNAL_KEY`].
    pub fn get_key_protector_external_key(&self, protector: Guid) -> Result<SecretBytes, Error> {
        self.call(&method::GET_KEY_PROTECTOR_EXTERNAL_KEY, &about(protector))?
            .secret_bytes("ExternalKey")
    }

    /// `GetKeyProtectorCertificate`: gives the certificate of a key protector.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::GET_KEY_PROTECTOR_CERTIFICATE`].
    pub fn get_key_protector_certificate(&self, protector: Guid) -> Result<Certificate, Error> {
        let mut outputs = self.call(&method::GET_KEY_PROTECTOR_CERTIFICATE, &about(protector))?;
        Ok(Certificate {
            public_key: outputs.bytes("PublicKey")?,
            thumbprint: outputs.text("CertThumbprint")?,
            of_recovery_agent: outputs.number("CertType")? == 1,
        })
    }

    /// `GetKeyProtectorAdSidInformation`: tells the account or group of a key protector.
    ///
    /// Returns the security identifier, and flags: 1 for a service.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::GET_KEY_PROTECTOR_AD_SID_INFORMATION`].
    pub fn get_key_protector_ad_sid_information(&self, protector: Guid) -> Result<(String, u32), Error> {
        let mut outputs = self.call(&method::GET_KEY_PROTECTOR_AD_SID_INFORMATION, &about(protector))?;
        Ok((outputs.text("SidString")?, outputs.number("Flags")?))
    }

    /// `GetKeyProtectorPlatformValidationProfile`: tells what of the computer a TPM protector is bound to.
    ///
    /// Returns the numbers of the PCRs.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::GET_KEY_PROTECTOR_PLATFORM_VALIDATION_PROFILE`].
    pub fn get_key_protector_platform_validation_profile(&self, protector: Guid) -> Result<Vec<u8>, Error> {
        self.call(
            &method::GET_KEY_PROTECTOR_PLATFORM_VALIDATION_PROFILE,
            &about(protector),
        )?
        .bytes("PlatformValidationProfile")
    }

    /// `GetKeyPackage`: gives the key package of a recovery protector or key file.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::GET_KEY_PACKAGE`].
    pub fn get_key_package(&self, protector: Guid) -> Result<SecretBytes, Error> {
        self.call(&method::GET_KEY_PACKAGE, &about(protector))?
            .secret_bytes("KeyPackage")
    }

    /// `SaveExternalKeyToFile`: writes a key file into a folder, as Windows names it.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::SAVE_EXTERNAL_KEY_TO_FILE`].
    pub fn save_external_key_to_file(&self, protector: Guid, folder: &str) -> Result<(), Error> {
        self.call(
            &method::SAVE_EXTERNAL_KEY_TO_FILE,
            &about(protector).text("Path", folder),
        )
        .map(drop)
    }

    /// `GetExternalKeyFileName`: tells the name of a key file.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::GET_EXTERNAL_KEY_FILE_NAME`].
    pub fn get_external_key_file_name(&self, protector: Guid) -> Result<String, Error> {
        self.call(&method::GET_EXTERNAL_KEY_FILE_NAME, &about(protector))?
            .text("FileName")
    }

    /// `GetExternalKeyFromFile`: reads a key file.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::GET_EXTERNAL_KEY_FROM_FILE`].
    pub fn get_external_key_from_file(&self, path: &str) -> Result<SecretBytes, Error> {
        self.call(
            &method::GET_EXTERNAL_KEY_FROM_FILE,
            &Arguments::none().text("PathWithFileName", path),
        )?
        .secret_bytes("ExternalKey")
    }

    /// `IsNumericalPasswordValid`: tells whether 48 digits have the form of a recovery key; not whether they are of this drive.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::IS_NUMERICAL_PASSWORD_VALID`].
    pub fn is_numerical_password_valid(&self, digits: SecretText) -> Result<bool, Error> {
        self.call(
            &method::IS_NUMERICAL_PASSWORD_VALID,
            &Arguments::none().with("NumericalPassword", Value::SecretText(digits)),
        )?
        .bool("IsNumericalPasswordValid")
    }

    /// `FindValidCertificates`: lists the certificates that would do.
    ///
    /// Returns their thumbprints.
    ///
    /// # Errors
    /// [`Error`]; the codes that matter are in [`method::FIND_VALID_CERTIFICATES`].
    pub fn find_valid_certificates(&self) -> Result<Vec<String>, Error> {
        self.call(&method::FIND_VALID_CERTIFICATES, &Arguments::none())?
            .texts("CertThumbprint")
    }
}

/// The certificate of a key protector.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// Its public key, DER.
    pub public_key: Vec<u8>,
    /// Its thumbprint, hexadecimal.
    pub thumbprint: String,
    /// Whether it is that of an organisation's recovery agent.
    pub of_recovery_agent: bool,
}
