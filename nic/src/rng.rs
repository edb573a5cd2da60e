//! Randomness from the operating system.

use netcore::rng::Rng;
use rand::TryRngCore;

/// Randomness from the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRng;

impl SystemRng {
    fn bytes<const N: usize>() -> [u8; N] {
        let mut bytes = [0; N];
        // Linux's getrandom fails only in a process that forbade it to itself.
        rand::rngs::OsRng.try_fill_bytes(&mut bytes).expect("the operating system gives randomness");
        bytes
    }
}

impl Rng for SystemRng {
    fn secret(&mut self) -> [u8; 16] {
        Self::bytes()
    }
    fn wire_u32(&mut self) -> u32 {
        u32::from_le_bytes(Self::bytes())
    }
}
