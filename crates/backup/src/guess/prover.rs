//! Trying guesses on a drive: a stretch for each, and a look at what it opens.

use keyhaven_crypto::{STRETCH_BATCH, Secret, SecretText, stretch_many};
use keyhaven_fve::Guid;
use keyhaven_fve::keys::{Password, RecoveryPassword};
use keyhaven_fve::protector::Trial;

/// Says which of some guesses is right.
pub trait Prover<G>: Sync {
    /// What a right guess opens.
    type Proof: Send;

    /// Returns the number of the guess that is right, and what it opens.
    fn prove(&self, guesses: &[G]) -> Option<(usize, Self::Proof)>;
}

/// A guess that is hashed before it is stretched.
pub trait Stretched: Send {
    /// Returns the hashes that are stretched: several where a text can be written in several ways.
    fn hashes(&self) -> Vec<Secret<32>>;
}

impl Stretched for RecoveryPassword {
    fn hashes(&self) -> Vec<Secret<32>> {
        vec![self.key().sha256()]
    }
}

impl Stretched for SecretText {
    fn hashes(&self) -> Vec<Secret<32>> {
        let forms = Password::new(Self::copy_of(self.expose_secret())).forms();
        forms.into_iter().map(|(_, hash)| hash).collect()
    }
}

/// The protectors of a drive, to which guesses are held.
///
/// Each has a salt of its own, so every guess is stretched once for each of them.
#[derive(Debug, Clone)]
pub struct Protectors(Vec<Trial>);

impl Protectors {
    /// Takes what guesses are tried on, one for each protector.
    #[must_use]
    pub fn new(trials: Vec<Trial>) -> Self {
        Self(trials)
    }

    /// Returns what guesses are tried on.
    #[must_use]
    pub fn trials(&self) -> &[Trial] {
        &self.0
    }
}

impl<G: Stretched + Sync> Prover<G> for Protectors {
    type Proof = Guid;

    fn prove(&self, guesses: &[G]) -> Option<(usize, Guid)> {
        let (owners, hashes): (Vec<usize>, Vec<Secret<32>>) = guesses
            .iter()
            .enumerate()
            .flat_map(|(owner, guess)| guess.hashes().into_iter().map(move |hash| (owner, hash)))
            .unzip();
        self.0.iter().find_map(|trial| {
            let stretched = stretch_many(&hashes, trial.salt());
            let right = stretched.iter().position(|stretched| trial.opens(stretched))?;
            Some((*owners.get(right)?, trial.protector_id()))
        })
    }
}

/// Stretches one batch of nothing: what a caller takes the time of before it says how long a search will be.
pub fn rehearse() {
    let nothing: Vec<Secret<32>> = (0..STRETCH_BATCH).map(|_| Secret::from([0; 32])).collect();
    drop(stretch_many(&nothing, &[0; 16]));
}
