//! What a script runs against.

use netcore::{Duration, Instant};
use stack::EndReason;

use super::parse::{AppCommand, AppSeen};
use super::segment::Addresses;

/// How exactly a subject is held to a script. Order and content are always compared.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// A segment may come so much before its time.
    pub early: Duration,
    /// ... and so much after it.
    pub late: Duration,
    /// The same where the script says "now".
    pub late_now: Duration,
    /// Quiet at the end of a script is watched for so long at most.
    pub last_silence: Duration,
    /// An acknowledgment may come before the data or FIN that it could have travelled with, and
    /// a FIN after the data (RFC 9293 §3.8.6.3: how long to wait for company is a choice).
    pub apart: bool,
    /// Announced windows are those that the script says; otherwise only closed and open differ.
    pub windows: bool,
}

impl Tolerance {
    /// On virtual time nothing is late but what a timer's grain makes late.
    pub const VIRTUAL: Self = Self {
        early: Duration::ZERO,
        late: Duration::from_millis(12),
        late_now: Duration::ZERO,
        last_silence: Duration::from_secs(100_000_000),
        apart: false,
        windows: true,
    };
}

/// A host under test, with its clock: virtual in this crate, real behind a device.
pub trait Subject {
    /// Who speaks with whom.
    fn addresses(&self) -> Addresses;

    /// How exactly it is held to the script.
    fn tolerance(&self) -> Tolerance {
        Tolerance::VIRTUAL
    }

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

/// Checks that the newest connection that was opened towards `peer_port` has failed as `wanted`.
///
/// # Errors
/// It has not, or otherwise.
pub fn has_failed(failed: &[(u16, EndReason)], peer_port: u16, wanted: &str) -> Result<(), String> {
    let reason = failed.iter().rev().find(|(port, _)| *port == peer_port);
    let reason = reason.map_or("not failed".to_owned(), |(_, reason)| format!("{reason:?}"));
    if reason.eq_ignore_ascii_case(wanted) {
        return Ok(());
    }
    Err(format!("the open towards port {peer_port} has {reason} instead of {wanted}"))
}
