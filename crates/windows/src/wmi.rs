//! Windows itself.

use keyhaven_crypto::{SecretBytes, SecretText};
use wmi::{AuthLevel, IWbemClassWrapper, Variant, WMIConnection, WMIError};
use zeroize::Zeroize;

use crate::code::Code;
use crate::error::Error;
use crate::method::Method;
use crate::provider::{Found, Provider};
use crate::value::{Arguments, Kind, Outputs, Value};

/// Where the class is.
const NAMESPACE: &str = r"ROOT\CIMV2\Security\MicrosoftVolumeEncryption";
const CLASS: &str = "Win32_EncryptableVolume";

/// A connection to this computer's WMI, for the thread that made it.
pub struct Wmi(WMIConnection);

impl std::fmt::Debug for Wmi {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wmi").finish_non_exhaustive()
    }
}

impl Wmi {
    /// Connects.
    ///
    /// # Errors
    /// [`Error::Unreachable`]: access is denied, there is no BitLocker, WMI does not run.
    pub fn connect() -> Result<Self, Error> {
        let connection = WMIConnection::with_namespace_path(NAMESPACE).map_err(unreachable)?;
        // Keys travel over it.
        connection
            .set_proxy_blanket(AuthLevel::PktPrivacy)
            .map_err(unreachable)?;
        Ok(Self(connection))
    }
}

impl Provider for Wmi {
    fn volumes(&self) -> Result<Vec<Found>, Error> {
        // All of them: an instance that is asked for some properties only has no path, and no method can be called.
        let rows = self
            .0
            .exec_query(format!("SELECT * FROM {CLASS}"))
            .map_err(unreachable)?;
        rows.map(|row| found(&row.map_err(unreachable)?)).collect()
    }

    fn call(
        &self,
        device_id: &str,
        method: &'static Method,
        arguments: &Arguments,
    ) -> Result<(Code, Outputs), Error> {
        let input = self.input(method, arguments)?;
        let answer = self
            .0
            .exec_method(path(device_id), method.name, input.as_ref())
            .map_err(unreachable)?
            .ok_or_else(|| unknown("ReturnValue", "a number", "nothing"))?;
        let Ok(Variant::UI4(code)) = answer.get_property("ReturnValue") else {
            return Err(unknown("ReturnValue", "a number", "something else"));
        };
        let code = Code(code);
        let mut outputs = Outputs::default();
        if code == Code::OK {
            for output in method.outputs {
                // What a version of Windows does not give is missed where it is needed.
                if let Ok(variant) = answer.get_property(output.name)
                    && let Some(value) = value(output.kind, variant)
                {
                    outputs.insert(output.name, value);
                }
            }
        }
        Ok((code, outputs))
    }
}

impl Wmi {
    /// Makes the object that carries the arguments of a method; none for a method that takes none.
    fn input(
        &self,
        method: &'static Method,
        arguments: &Arguments,
    ) -> Result<Option<IWbemClassWrapper>, Error> {
        let class = self.0.get_object(CLASS).map_err(unreachable)?;
        let signature = class
            .get_method(method.name)
            .map_err(|error| match unreachable(error) {
                // An older Windows without the method.
                Error::Unreachable(Code::WMI_NOT_FOUND) => Error::Unreachable(Code::WMI_INVALID_METHOD),
                other => other,
            })?;
        let Some(signature) = signature else {
            return Ok(None);
        };
        let input = signature.spawn_instance().map_err(unreachable)?;
        for (name, value) in arguments.iter() {
            input.put_property(name, variant(value)).map_err(unreachable)?;
        }
        Ok(Some(input))
    }
}

/// Returns the object path of a volume: backslashes and quotes are escaped in it.
fn path(device_id: &str) -> String {
    let escaped = device_id.replace('\\', r"\\").replace('"', "\\\"");
    format!("{CLASS}.DeviceID=\"{escaped}\"")
}

fn found(row: &IWbemClassWrapper) -> Result<Found, Error> {
    let text = |name| match row.get_property(name) {
        Ok(Variant::String(text)) => Some(text),
        _ => None,
    };
    let number = |name| match row.get_property(name) {
        Ok(Variant::UI4(number)) => Some(number),
        _ => None,
    };
    Ok(Found {
        device_id: text("DeviceID").ok_or_else(|| unknown("DeviceID", "a text", "nothing"))?,
        persistent_volume_id: text("PersistentVolumeID").unwrap_or_default(),
        drive_letter: text("DriveLetter").filter(|letter| !letter.is_empty()),
        protection_status: number("ProtectionStatus")
            .ok_or_else(|| unknown("ProtectionStatus", "a number", "nothing"))?,
        volume_type: number("VolumeType"),
    })
}

fn variant(value: &Value) -> Variant {
    let bytes = |bytes: &[u8]| Variant::Array(bytes.iter().copied().map(Variant::UI1).collect());
    match value {
        Value::Number(number) => Variant::UI4(*number),
        Value::Bool(answer) => Variant::Bool(*answer),
        Value::Text(text) => Variant::String(text.clone()),
        Value::Texts(texts) => Variant::Array(texts.iter().cloned().map(Variant::String).collect()),
        Value::Bytes(given) => bytes(given),
        // From here on the secret is in COM's hands, which wipes nothing.
        Value::SecretText(text) => Variant::String(text.expose_secret().to_owned()),
        Value::SecretBytes(given) => bytes(given.expose_secret()),
    }
}

fn value(kind: Kind, variant: Variant) -> Option<Value> {
    Some(match (kind, variant) {
        (Kind::Number, Variant::UI4(number)) => Value::Number(number),
        (Kind::Bool, Variant::Bool(answer)) => Value::Bool(answer),
        (Kind::Text, Variant::String(text)) => Value::Text(text),
        (Kind::SecretText, Variant::String(text)) => Value::SecretText(SecretText::from(text)),
        (Kind::Texts, Variant::Array(items)) => {
            let texts = items.into_iter().map(|item| match item {
                Variant::String(text) => Some(text),
                _ => None,
            });
            Value::Texts(texts.collect::<Option<_>>()?)
        }
        (Kind::Bytes, Variant::Array(items)) => Value::Bytes(bytes(&items)?),
        (Kind::SecretBytes, Variant::Array(mut items)) => {
            let mut plain = bytes(&items)?;
            let secret = SecretBytes::copy_of(&plain);
            plain.zeroize();
            items.iter_mut().for_each(|item| *item = Variant::UI1(0));
            Value::SecretBytes(secret)
        }
        _ => return None,
    })
}

fn bytes(items: &[Variant]) -> Option<Vec<u8>> {
    let bytes = items.iter().map(|item| match item {
        Variant::UI1(byte) => Some(*byte),
        _ => None,
    });
    bytes.collect()
}

fn unreachable(error: WMIError) -> Error {
    match error {
        WMIError::HResultError { hres } => Error::Unreachable(Code(hres.cast_unsigned())),
        other => unknown("WMI", "an answer", &other.to_string()),
    }
}

fn unknown(what: &'static str, expected: &str, found: &str) -> Error {
    Error::Answer {
        what,
        expected: expected.to_owned(),
        found: found.to_owned(),
    }
}
