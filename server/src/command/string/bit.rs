//! Bits of strings.

use crate::command::table::Command;

/// The group's rows.
pub static COMMANDS: &[Command] = &[];
