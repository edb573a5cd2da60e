//! Placeholder rows until the group is written.
use super::table::Command;

/// The group's rows.
pub static COMMANDS: &[Command] = &[];
