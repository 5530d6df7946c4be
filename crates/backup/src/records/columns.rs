//! What the names of columns mean, in the exports of directories and consoles and in people's own lists.

/// What a column, an attribute or a member of an object says of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Column {
    /// The computer that the key is of.
    Device,
    /// Some name: the computer's, unless the row says that better.
    Name,
    /// Where the key's object lies in a directory, its computer being the level above.
    DistinguishedName,
    /// The key itself, which is known by its looks whatever its column is called.
    Key,
    /// The identifier of the key.
    KeyId,
    /// The identifier of the volume.
    VolumeId,
    /// An identifier of something else: the device's, the tenant's, the user's.
    OtherId,
    /// When the key was made or saved.
    Date,
    /// A package of key material, which holds no digits.
    KeyPackage,
    /// Anything else.
    Other,
}

const OF_KEYS: &[&str] = &[
    "key",
    "password",
    "protector",
    "recovery",
    "bitlocker",
    "schlüssel",
    "kennwort",
    "clé",
    "clave",
    "chiave",
    "chave",
    "klucz",
    "ключ",
    "キー",
    "密钥",
];
const OF_DEVICES: &[&str] = &[
    "device",
    "computer",
    "machine",
    "host",
    "endpoint",
    "workstation",
    "pcname",
    "assetname",
    "gerät",
    "rechner",
    "ordinateur",
    "appareil",
    "equipo",
    "ordenador",
    "dispositivo",
    "urządzenie",
    "komputer",
    "компьютер",
    "устройство",
    "コンピューター",
    "デバイス",
    "设备",
    "计算机",
];
/// What a column of a device may say of it besides its name.
const NOT_A_NAME: &[&str] = &[
    "type",
    "typ",
    "model",
    "serial",
    "version",
    "status",
    "state",
    "owner",
    "user",
    "count",
    "group",
    "manufacturer",
];
const OF_VOLUMES: &[&str] = &["volume", "volumen", "datenträger", "laufwerk", "dataset"];
const OF_IDS: &[&str] = &[
    "guid",
    "uuid",
    "identifier",
    "kennung",
    "identifiant",
    "identificador",
    "идентификатор",
];
const OF_DATES: &[&str] = &[
    "date", "time", "created", "saved", "uploaded", "datum", "fecha", "data", "дата", "日付", "日期",
];

impl Column {
    /// Tells what a column holds by its name, in any spelling: `Recovery Key ID`, `recoveryKeyId`, `recovery_key_id`.
    pub(super) fn named(name: &str) -> Self {
        let bare: String = name
            .chars()
            .filter(|sign| sign.is_alphanumeric())
            .flat_map(char::to_lowercase)
            .take(64)
            .collect();
        let has = |words: &[&str]| words.iter().any(|word| bare.contains(word));
        match bare.as_str() {
            "dn" | "distinguishedname" => return Self::DistinguishedName,
            "id" | "guid" | "identifier" => return Self::KeyId,
            "name" | "displayname" | "pc" => return Self::Name,
            _ => {}
        }
        if has(&["keypackage", "recoverypackage"]) {
            Self::KeyPackage
        } else if bare.ends_with("id") || has(OF_IDS) {
            if has(OF_VOLUMES) {
                Self::VolumeId
            } else if has(OF_KEYS) {
                Self::KeyId
            } else {
                Self::OtherId
            }
        } else if has(OF_DEVICES) && !has(NOT_A_NAME) {
            Self::Device
        } else if has(OF_DATES) {
            Self::Date
        } else if has(OF_KEYS) {
            Self::Key
        } else {
            Self::Other
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_real_exports_are_understood() {
        for (name, column) in [
            ("msFVE-RecoveryGuid", Column::KeyId),
            ("msFVE-VolumeGuid", Column::VolumeId),
            ("msFVE-RecoveryPassword", Column::Key),
            ("msFVE-KeyPackage", Column::KeyPackage),
            ("distinguishedName", Column::DistinguishedName),
            ("whenCreated", Column::Date),
            ("createdDateTime", Column::Date),
            ("deviceId", Column::OtherId),
            ("Device name", Column::Device),
            ("id", Column::KeyId),
            ("objectGUID", Column::OtherId),
            ("Recovery Key ID", Column::KeyId),
            ("RecoveryKeyId", Column::KeyId),
            ("VolumeId", Column::VolumeId),
            ("Computer", Column::Device),
            ("ComputerType", Column::Other),
            ("hostname", Column::Device),
            ("volumeType", Column::Other),
            ("Wiederherstellungsschlüssel-ID", Column::KeyId),
            ("Gerätename", Column::Device),
            ("Имя компьютера", Column::Device),
            ("Recovery key", Column::Key),
            ("", Column::Other),
        ] {
            assert_eq!(Column::named(name), column, "{name}");
        }
    }
}
