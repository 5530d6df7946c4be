//! Kinds that need a chip, a card or a server: they are shown with their names, and another way in has to be used.

use super::{ProtectorKind, Spec};

macro_rules! listed {
    ($($name:ident: $kind:ident, $code:literal, $json_name:literal, $title:literal;)*) => {
        $(pub(super) static $name: Spec = Spec {
            kind: ProtectorKind::$kind,
            code: $code,
            json_name: $json_name,
            title: $title,
            unlock: None,
        };)*
    };
}

listed! {
    TPM: Tpm, 0x0100, "tpm", "TPM (opens by itself in its own computer)";
    TPM_STARTUP_KEY: TpmStartupKey, 0x0300, "tpm_startup_key", "TPM and startup key";
    TPM_PIN: TpmPin, 0x0500, "tpm_pin", "TPM and PIN";
    TPM_PIN_STARTUP_KEY: TpmPinStartupKey, 0x0700, "tpm_pin_startup_key", "TPM, PIN and startup key";
    PUBLIC_KEY: PublicKey, 0x1000, "public_key", "certificate or smart card";
    // Not seen on a disk yet: put together from the bits for TPM and certificate (format spec 2.7).
    NETWORK_UNLOCK: NetworkUnlock, 0x1100, "network_unlock", "TPM and network unlock";
}
