//! What a script runs against.

use netcore::Instant;

use super::parse::{AppCommand, AppSeen};
use super::segment::Addresses;

/// A host under test, with its clock: virtual in this crate, real behind a device.
pub trait Subject {
    /// Who speaks with whom.
    fn addresses(&self) -> Addresses;

    /// The time.
    fn now(&self) -> Instant;

    /// A frame arrives now; everything that follows from it without time passing has been
    /// sent when this returns.
    fn inject(&mut self, frame: &[u8]);

    /// Lets time pass up to `until`, or until something has been sent.
    fn advance(&mut self, until: Instant);

    /// Takes the oldest frame that was sent and not taken yet, with the time it was sent at.
    fn sent(&mut self) -> Option<(Instant, Vec<u8>)>;

    /// Has the application do something on the connection of this peer port.
    ///
    /// # Errors
    /// There is no such connection, or this subject's application takes no commands.
    fn command(&mut self, peer_port: u16, command: &AppCommand) -> Result<(), String>;

    /// Checks what the application has seen.
    ///
    /// # Errors
    /// It has seen something else; what, in words.
    fn seen(&self, peer_port: u16, seen: &AppSeen) -> Result<(), String>;
}
