//! From a script to the configuration of the machine that it runs against.

use std::net::IpAddr;

use protocol::tcp;
use stack::{AcceptPolicy, CongestionControl, EcnPolicy, Refusal};

use super::icmp::LONGER_V6;
use super::parse::{Script, SubjectKind};
use super::words::parse_seconds;
use crate::machine::MachineConfig;

/// TCP port that the application listens on.
pub const PORT: u16 = 6379;
/// Length of the prefix that peer and subject share.
pub const PREFIX_LEN: u8 = 16;
/// The same over IPv6.
const PREFIX_LEN_V6: u8 = 64;

/// Firmware and stack as the script wants them, at this address; `firmware` is what its settings change, with the
/// hardware address of both. Over IPv6 packets may be as much longer as their headers are, so that segments are
/// those that the script says.
///
/// # Errors
/// A setting that does not exist or has no such value; a kind that is no machine of ours.
pub fn machine_config(
    kind: SubjectKind,
    script: &Script,
    firmware: nicfw::Config,
    address: IpAddr,
) -> Result<MachineConfig, String> {
    let prefix_len = if address.is_ipv4() { PREFIX_LEN } else { PREFIX_LEN_V6 };
    let mut config = MachineConfig {
        stack: stack::Config::new(firmware.mac, address, prefix_len),
        firmware,
        ring_frames: 256,
        port: PORT,
        accept: AcceptPolicy::Deferred,
    };
    (config.firmware.offload, config.stack.offload) = match kind {
        SubjectKind::Stack => (nicfw::Offload::None, stack::Offload::None),
        SubjectKind::Firmware => (nicfw::Offload::Lifecycle, stack::Offload::Lifecycle),
        SubjectKind::Linux => return Err("linux is played in real time only".to_owned()),
    };
    config.firmware.flows_max = 64;
    config.firmware.time_wait_max = 64;
    config.firmware.retained_max = 64;
    config.stack.rx_partial_checksum = config.firmware.rx_partial_checksum;
    config.stack.connections_max = 64;
    config.stack.time_wait_max = 64;
    for (name, value) in &script.settings {
        set(&mut config, name, value)?;
    }
    if address.is_ipv6() {
        config.stack.mtu += LONGER_V6;
        config.firmware.mtu += LONGER_V6;
    }
    Ok(config)
}

fn set(config: &mut MachineConfig, name: &str, value: &str) -> Result<(), String> {
    let number = || value.parse::<u32>().map_err(|_| format!("set {name}: \"{value}\" is no number"));
    let time = || parse_seconds(value).map_err(|error| format!("set {name}: {error}"));
    match name {
        "receive_window" => config.stack.receive_window = number()?,
        "mtu" => {
            config.stack.mtu = number()? as usize;
            config.firmware.mtu = config.stack.mtu;
        }
        "accept" => {
            config.accept = match value {
                "deferred" => AcceptPolicy::Deferred,
                "immediate" => AcceptPolicy::Immediate,
                _ => return Err(format!("set accept: \"{value}\" is neither deferred nor immediate")),
            }
        }
        "congestion" => {
            config.stack.congestion = match value {
                "cubic" => CongestionControl::Cubic,
                "new_reno" => CongestionControl::NewReno,
                _ => return Err(format!("set congestion: \"{value}\" is neither cubic nor new_reno")),
            };
        }
        "nagle" => {
            config.stack.nagle = match value {
                "on" => true,
                "off" => false,
                _ => return Err(format!("set nagle: \"{value}\" is neither on nor off")),
            };
        }
        "ecn" => {
            config.stack.ecn = match value {
                "off" => EcnPolicy::Off,
                "accept" => EcnPolicy::Accept,
                "offer" => EcnPolicy::Offer,
                _ => return Err(format!("set ecn: \"{value}\" is not off, accept or offer")),
            };
        }
        "user_timeout" => {
            config.stack.user_timeout = Some(time()?);
            config.firmware.user_timeout = config.stack.user_timeout;
        }
        "waiting_max" => config.firmware.waiting_max = Some(time()?),
        "last_data_max" => config.firmware.last_data_max = number()?,
        "retained_max" => config.firmware.retained_max = number()? as usize,
        "listen_max" => config.stack.listen_max = number()?,
        "refusal" => {
            config.stack.refusal = match value {
                "reset" => Refusal::Reset,
                "silence" => Refusal::Silence,
                "error" => Refusal::Error,
                _ => return Err(format!("set refusal: \"{value}\" is not reset, silence or error")),
            };
        }
        "backlog_max" => config.stack.backlog_max = number()? as usize,
        "connections_max" => config.stack.connections_max = number()? as usize,
        "retransmissions_max" => {
            config.stack.retransmissions_max = number()? as u8;
            config.firmware.retries = config.stack.retransmissions_max;
        }
        "syn_retransmissions_max" => config.stack.syn_retransmissions_max = number()? as u8,
        "delayed_ack" => config.stack.delayed_ack = time()?,
        "keepalive" => config.stack.keepalive = Some(time()?),
        "keepalive_probes" => config.stack.keepalive_probes = number()? as u8,
        "time_wait" => {
            config.stack.time_wait = time()?;
            config.firmware.time_wait = config.stack.time_wait;
        }
        "challenge_acks_per_second" => config.stack.challenge_acks_per_second = number()?,
        "waiting_idle" => config.firmware.waiting_idle = time()?,
        "fin_wait_2" => {
            config.stack.fin_wait_2 = time()?;
            config.firmware.fin_wait_2 = config.stack.fin_wait_2;
        }
        _ => return Err(format!("set {name}: there is no such setting")),
    }
    debug_assert!(config.stack.mtu >= 68 + tcp::HEADER_LEN);
    Ok(())
}
