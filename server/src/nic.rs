//! What `MAYFLY` asks of the firmware: a front that has one answers.

use protocol::channel::FlowId;

/// A side of the firmware.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// Towards the network: what the device receives and sends.
    Wire,
    /// Towards the host: the messages of the channel, and raw frames; all queues together.
    Host,
}

impl Side {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Wire, Self::Host];

    /// `wire` or `host`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Wire => "wire",
            Self::Host => "host",
        }
    }
}

/// How much a capture may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CaptureLimits {
    /// Frames.
    pub frames: u64,
    /// Bytes of the file.
    pub bytes: u64,
}

impl Default for CaptureLimits {
    fn default() -> Self {
        Self { frames: 100_000, bytes: 64 << 20 }
    }
}

/// The firmware as commands see it.
pub trait NicView: Send + Sync {
    /// Events of flows, a line each, newest first: at most `count`, of one flow or of all.
    fn events(&self, flow: Option<FlowId>, count: usize) -> Vec<String>;
    /// Flows that are there, a line each: at most `count`.
    fn flows(&self, count: usize) -> Vec<String>;
    /// Writes the frames of a side to the file `name` in the folder for captures, from now on.
    ///
    /// # Errors
    /// What is wrong, for the client: a capture is running there, the name, or the file.
    fn start_capture(&self, side: Side, name: &str, limits: CaptureLimits) -> Result<(), String>;
    /// Ends a capture: how many frames it holds.
    ///
    /// # Errors
    /// None is running there.
    fn stop_capture(&self, side: Side) -> Result<u64, String>;
}
