//! Changing the metadata of volumes: what each edit does, on volumes of ours and of Windows; what a crash leaves; that no
//! nonce is used twice; and what independent readers make of the result.

mod bed;
mod changes;
mod crashes;
mod nonces;
#[path = "../published/mod.rs"]
mod published;
mod refusals;
mod saved;
mod windows;
