//! Finding a secret that is nearly known: by trying what it may have been, likeliest first.
//!
//! [`Hint`] understands what a person still has of a recovery key, [`KeyGuesses`] orders what it may have been, and
//! [`search`] goes through that on all cores: [`Protectors`] of a drive say which guess is right. What is tried and in
//! which order depends on nothing but the hint, so that parts ([`Shard`]) can be searched on many computers that know
//! nothing of each other, and a [`StateFile`] lets a search go on another day.

mod candidates;
mod choices;
mod digits;
mod engine;
mod hash_line;
mod hint;
mod keys;
mod mask;
mod order;
mod prover;
mod shifts;
mod slips;
mod state;
mod words;

pub use candidates::{Candidates, NotAShard, Shard};
pub use engine::{Ending, Progress, Work, search};
pub use hash_line::{HashFormat, hash_line};
pub use hint::{Hint, HintError};
pub use keys::{Help, KeyGuesses, Stage, TooLittleKnown, UnderstoodBlock};
pub use mask::{Mask, MaskError};
pub use prover::{Protectors, Prover, Stretched, rehearse};
pub use state::{Fingerprint, StateError, StateFile};
pub use words::{Changed, Words};
