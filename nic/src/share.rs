//! Whether `xdp:IFACE` is shared with the kernel, and which addresses.
//!
//! It is when the server's addresses are the kernel's: those that are named, or all of the interface's when none is.
//! With addresses that the kernel does not have, all of the interface is ours.

use std::net::IpAddr;

use dpdk::{Device, KernelAddress, Share};
use protocol::ip::Address;

/// Most addresses that are taken from an interface unnamed: as many as a server can be given.
const ADDRESSES_MAX: usize = Share::ADDRESSES_MAX - 1;

/// The addresses of `device` that are shared with the kernel, which has `kernel`; `None`: none are. `given`: the
/// server's, if they are named, in VLAN `vlan`.
///
/// # Errors
/// What is impossible together, and what to do.
pub fn shared_with_kernel(
    device: &Device,
    given: &[IpAddr],
    vlan: Option<u16>,
    kernel: &[KernelAddress],
) -> Result<Option<Vec<KernelAddress>>, String> {
    let Device::Xdp(interface) = device else { return Ok(None) };
    if given.is_empty() {
        return of_interface(interface, vlan, kernel);
    }
    let (mut kernels, mut others) = (Vec::new(), Vec::new());
    for address in given {
        match kernel.iter().find(|known| known.address == *address) {
            Some(known) => kernels.push(known.clone()),
            None => others.push(address),
        }
    }
    match (kernels.first(), others.first()) {
        (None, _) => Ok(None),
        (Some(_), None) => Ok(Some(kernels)),
        (Some(known), Some(other)) => Err(format!(
            "address {} is one of the kernel's, with which xdp:{interface} is shared then, and {other} is not: give \
             the kernel both (ip address add {other}/PREFIX dev {interface}), or the server only what the kernel does \
             not have",
            known.address
        )),
    }
}

/// What the kernel has on the interface, if it has anything.
fn of_interface(
    interface: &str,
    vlan: Option<u16>,
    kernel: &[KernelAddress],
) -> Result<Option<Vec<KernelAddress>>, String> {
    let is_usable = |known: &&KernelAddress| {
        known.interface == interface && !Address::from(known.address).is_never_a_host()
    };
    let own: Vec<KernelAddress> = kernel.iter().filter(is_usable).cloned().collect();
    if own.is_empty() {
        return Ok(None);
    }
    if vlan.is_some() {
        return Err(format!(
            "vlan: xdp:{interface} does not know which of the kernel's addresses are in it: add --address IP/PREFIX"
        ));
    }
    if own.len() > ADDRESSES_MAX {
        return Err(format!(
            "the kernel has {} addresses on '{interface}', more than the {ADDRESSES_MAX} that can be shared with it: \
             name those that the server is to answer on (--address IP/PREFIX)",
            own.len()
        ));
    }
    Ok(Some(own))
}

/// Warnings after which there are no more: whoever reads has understood.
const SAID_MAX: usize = 64;

/// What is taken of a shared interface, and where hosts have listened that is not.
#[derive(Debug)]
pub(crate) struct Watched {
    share: Share,
    said: Vec<(Address, u16)>,
}

impl Watched {
    pub(crate) fn new(share: Share) -> Self {
        Self { share, said: Vec::new() }
    }

    /// Says once of each address and port that a host listens on what the kernel keeps.
    pub(crate) fn look(&mut self, listened_on: impl Iterator<Item = (Address, u16)>) {
        for (address, port) in listened_on {
            // A host has the one of its link by itself.
            let is_unasked = address.is_link_local_v6();
            if self.said.len() == SAID_MAX
                || is_unasked
                || self.is_taken(address, port)
                || self.said.contains(&(address, port))
            {
                continue;
            }
            self.said.push((address, port));
            tracing::warn!(
                "The server listens on {address} port {port}, which stays with the kernel: it hears nothing there. \
                 Say with --address and --port what is the server's"
            );
        }
    }

    fn is_taken(&self, address: Address, port: u16) -> bool {
        self.share.ports.contains(&port) && self.share.addresses.contains(&address.to_ip_addr())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel() -> Vec<KernelAddress> {
        let known = |interface: &str, address: &str, prefix_len| KernelAddress {
            interface: interface.into(),
            address: address.parse().unwrap(),
            prefix_len,
        };
        let mut all = vec![
            known("lo", "127.0.0.1", 8),
            known("eth1", "198.18.0.2", 24),
            known("eth1", "fe80::2", 64),
            known("eth1.5", "198.18.5.2", 24),
        ];
        all.extend((1..=64).map(|host| known("eth64", &format!("198.18.64.{host}"), 24)));
        all
    }

    /// `given`: with spaces.
    fn shared(device: &str, given: &str, vlan: Option<u16>) -> Result<Option<String>, String> {
        let given: Vec<IpAddr> = given.split_whitespace().map(|word| word.parse().unwrap()).collect();
        let shared = shared_with_kernel(&device.parse().unwrap(), &given, vlan, &kernel())?;
        let shown = |known: &KernelAddress| format!("{}/{}", known.address, known.prefix_len);
        Ok(shared.map(|shared| shared.iter().map(shown).collect::<Vec<_>>().join(" ")))
    }

    #[test]
    fn the_kernels_addresses_are_shared_and_others_are_not() {
        let some = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(shared("xdp:eth1", "", None), some("198.18.0.2/24 fe80::2/64"));
        assert_eq!(shared("xdp:eth1", "198.18.0.2", None), some("198.18.0.2/24"));
        assert_eq!(shared("xdp:eth1", "198.18.0.3", None), Ok(None));
        assert_eq!(shared("xdp:eth1", "198.18.5.2", Some(5)), some("198.18.5.2/24"));
        assert_eq!(shared("xdp:eth2", "", None), Ok(None));
        assert_eq!(shared("xdp:eth2", "", Some(5)), Ok(None));
        assert_eq!(shared("packet:eth1", "198.18.0.2", None), Ok(None));
    }

    #[test]
    fn who_listens_on_the_kernels_is_named_once() {
        let address = |text: &str| Address::from(text.parse::<IpAddr>().unwrap());
        let share = Share { addresses: vec![[198, 18, 0, 2].into()], ports: vec![6379], vlan: None };
        let mut watched = Watched::new(share);
        let listened_on = ["198.18.0.2", "198.18.0.3", "fe80::2"].map(address);
        for _ in 0..2 {
            watched.look(listened_on.iter().map(|&address| (address, 6379)));
            watched.look(listened_on.iter().map(|&address| (address, 6380)));
        }
        let [shared, other, _] = listened_on;
        assert_eq!(watched.said, [(other, 6379), (shared, 6380), (other, 6380)]);
    }

    #[test]
    fn what_does_not_fit_together_is_named() {
        for (device, given, vlan, expected) in [
            ("xdp:eth1", "198.18.0.2 198.18.0.3", None, "198.18.0.3 is not"),
            ("xdp:eth1", "", Some(5), "--address"),
            ("xdp:eth64", "", None, "64 addresses"),
        ] {
            let error = shared(device, given, vlan).unwrap_err();
            assert!(error.contains(expected), "{device} {given}: {error}");
        }
    }
}
