//! What the kernels need of a processor, so that each is written once for every size of register.
//!
//! A kernel is generic over these traits. All of it is inlined into [`Vector::within`], which is compiled for the
//! instructions; that is why everything on the way is `#[inline(always)]`. A value of an implementing type can only be
//! had from a processor that has the instructions, so kernels need no `unsafe` of their own.

use zeroize::Zeroize;

/// Registers worked on at a time: enough to fill the latency of an AES round on two execution units.
pub(super) const LANES: usize = 8;

/// Registers of one size, and the memory they come from and go to. Of no alignment.
pub(super) trait Vector: Copy + Send + Sync + 'static {
    type Register: Copy + Send + Sync + Zeroize;
    /// The memory that fills one.
    type Bytes;

    /// Runs `work` compiled for the instructions, as far as it is inlined.
    fn within<T>(self, work: impl FnOnce() -> T) -> T;

    /// Splits memory into what fills a register; what is left over at the end is left out.
    fn registers(bytes: &[u8]) -> &[Self::Bytes];
    /// As [`Vector::registers`], to be written.
    fn registers_mut(bytes: &mut [u8]) -> &mut [Self::Bytes];

    fn zero(self) -> Self::Register;
    fn load(self, bytes: &Self::Bytes) -> Self::Register;
    fn store(self, bytes: &mut Self::Bytes, register: Self::Register);
    fn xor(self, a: Self::Register, b: Self::Register) -> Self::Register;

    /// Returns the same register, but keeps the compiler from computing it before or after other held registers. Where
    /// lanes take turns so that none waits for itself, it would otherwise put one lane after the other, to need fewer
    /// registers at a time.
    fn hold(self, register: Self::Register) -> Self::Register;

    /// Fills registers with memory that stands side by side.
    #[inline(always)]
    fn load_all<const L: usize>(self, bytes: &[Self::Bytes; L]) -> [Self::Register; L] {
        bytes.each_ref().map(
            #[inline(always)]
            |bytes| self.load(bytes),
        )
    }

    /// Undoes [`Vector::load_all`].
    #[inline(always)]
    fn store_all<const L: usize>(self, bytes: &mut [Self::Bytes; L], registers: [Self::Register; L]) {
        for (bytes, register) in bytes.iter_mut().zip(registers) {
            self.store(bytes, register);
        }
    }

    /// XORs each register with its partner.
    #[inline(always)]
    fn xor_all<const L: usize>(self, registers: &mut [Self::Register; L], others: &[Self::Register; L]) {
        for (register, other) in registers.iter_mut().zip(others) {
            *register = self.xor(*register, *other);
        }
    }
}

/// AES on every block of a register, and the arithmetic of XTS.
pub(super) trait AesVector: Vector {
    /// Blocks in a register.
    const BLOCKS: usize;

    /// Fills every block of a register with the same one.
    fn broadcast(self, block: &[u8; 16]) -> Self::Register;
    /// Fills a register with block `at` of as many sectors.
    fn load_column<const S: usize>(self, sectors: &[[[u8; 16]; S]], at: usize) -> Self::Register;
    /// Undoes [`AesVector::load_column`].
    fn store_column<const S: usize>(self, sectors: &mut [[[u8; 16]; S]], at: usize, register: Self::Register);
    /// Puts the last block of `before` in front of `after`, whose own last one falls out.
    fn shift_in(self, before: Self::Register, after: Self::Register) -> Self::Register;

    fn encrypt_round(self, state: Self::Register, key: Self::Register) -> Self::Register;
    fn encrypt_last(self, state: Self::Register, key: Self::Register) -> Self::Register;
    fn decrypt_round(self, state: Self::Register, key: Self::Register) -> Self::Register;
    fn decrypt_last(self, state: Self::Register, key: Self::Register) -> Self::Register;

    /// Returns a word of the key schedule with its bytes substituted, without a table that a cache could betray.
    fn substitute(self, word: u32) -> u32;
    /// Turns a round key of encryption into one of decryption (FIPS 197, 5.3.5).
    fn inverse_mix(self, key: &mut [u8; 16]);

    /// Returns the tweaks of a sector's first blocks, [`LANES`] registers of them: `start` times alpha to the powers 0,
    /// 1, 2 and on, each computed from the start and not from its neighbour, so that none waits for another.
    fn first_tweaks(self, start: &[u8; 16]) -> [Self::Register; LANES];
    /// Moves tweaks on by as many blocks as [`LANES`] registers hold.
    fn next_tweaks(self, tweaks: Self::Register) -> Self::Register;
}

/// Arithmetic on the 32-bit words of a register, modulo 2^32.
pub(super) trait WordVector: Vector {
    /// Words in a register.
    const WORDS: usize;
    /// As many registers.
    type Square: AsRef<[Self::Register]> + AsMut<[Self::Register]>;

    fn add(self, a: Self::Register, b: Self::Register) -> Self::Register;
    fn sub(self, a: Self::Register, b: Self::Register) -> Self::Register;
    /// Rotates each word by `LEFT` bits; `REST` is 32 less that.
    fn rotate_left<const LEFT: i32, const REST: i32>(self, words: Self::Register) -> Self::Register;

    /// Makes registers of zeros.
    fn square(self) -> Self::Square;
    /// Swaps rows and columns.
    fn transpose(self, rows: &Self::Square) -> Self::Square;
}

/// Writes methods that are instructions.
macro_rules! instructions {
    ($(fn $name:ident $(<$(const $const:ident: i32),+>)? ($($arg:ident: $type:ty),*) $(-> $out:ty)? { $body:expr })*) => {$(
        #[inline(always)]
        fn $name $(<$(const $const: i32),+>)? (self, $($arg: $type),*) $(-> $out)? {
            // SAFETY: `self` is the proof that the processor has the instructions, and where the body reads or writes
            // memory by pointer, the argument's type is as long as the register; no alignment is asked for.
            unsafe { $body }
        }
    )*};
}
pub(super) use instructions;
