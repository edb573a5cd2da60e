//! Whether `net xdp:IFACE` shares the interface with the kernel, and which addresses.
//!
//! It does when the server's addresses are the kernel's: those that `address` names, or all of the
//! interface's when `address` is left out. With addresses that the kernel does not have, the whole
//! interface is the server's.

use dpdk::{Device, KernelAddress};
use protocol::ip::Address;

use super::Network;

/// The addresses that are shared with the kernel, which has `kernel`; `None`: none are.
///
/// # Errors
/// What is missing or impossible together.
pub(crate) fn shared(
    network: &Network,
    kernel: &[KernelAddress],
) -> Result<Option<Vec<stack::Network>>, String> {
    let Device::Xdp(interface) = &network.device else { return Ok(None) };
    let addresses = match network.addresses.as_slice() {
        [] => of_interface(network, interface, kernel)?,
        given => {
            let is_kernels = |network: &&stack::Network| {
                kernel.iter().any(|known| Address::from(known.address) == network.address)
            };
            let (kernels, others): (Vec<&_>, Vec<&_>) = given.iter().partition(is_kernels);
            match (kernels.first(), others.first()) {
                (None, _) => return Ok(None),
                (Some(kernels), Some(other)) => {
                    return Err(format!(
                        "address {} is one of the kernel's, with which xdp:{interface} is shared then, and {} is not: \
                         give the kernel both (ip address add {}/{} dev {interface}), or the server only what the \
                         kernel does not have",
                        kernels.address, other.address, other.address, other.prefix_len
                    ));
                }
                (Some(_), None) => given.to_vec(),
            }
        }
    };
    if let Some(gateway) = network.gateways.first() {
        return Err(format!(
            "gateway {gateway}: xdp:{interface} is shared with the kernel, whose routes are used; leave it out"
        ));
    }
    Ok(Some(addresses))
}

/// What the kernel has on the interface.
fn of_interface(
    network: &Network,
    interface: &str,
    kernel: &[KernelAddress],
) -> Result<Vec<stack::Network>, String> {
    if network.vlan.is_some() {
        return Err(format!(
            "vlan: xdp:{interface} does not know which of the kernel's addresses are in it: add --address IP/PREFIX"
        ));
    }
    let usable = |known: &&KernelAddress| {
        known.interface == interface && !Address::from(known.address).is_never_a_host()
    };
    let own: Vec<stack::Network> = kernel
        .iter()
        .filter(usable)
        .map(|known| stack::Network { address: known.address.into(), prefix_len: known.prefix_len })
        .collect();
    if own.is_empty() || own.len() > stack::ADDRESSES_MAX - 1 {
        return Err(format!(
            "the kernel has {} addresses on '{interface}' that could be shared with it: name those that the server \
             is to answer on (--address IP/PREFIX), the kernel's own to share the interface or another one to take \
             all of it",
            own.len()
        ));
    }
    Ok(own)
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
        vec![
            known("lo", "127.0.0.1", 8),
            known("eth1", "198.18.0.2", 24),
            known("eth1", "fe80::2", 64),
            known("eth1.5", "198.18.5.2", 24),
        ]
    }

    fn network(settings: &[(&str, &str)]) -> Network {
        let mut network = Network::default();
        for (name, value) in settings {
            network.set(name, value).unwrap();
        }
        assert_eq!(network.check(), Ok(()));
        network
    }

    fn shown(settings: &[(&str, &str)]) -> Result<Option<String>, String> {
        let shared = shared(&network(settings), &kernel())?;
        Ok(shared.map(|addresses| Network { addresses, ..Network::default() }.show("address")))
    }

    #[test]
    fn the_kernels_addresses_are_shared_and_others_are_not() {
        let net = ("net", "xdp:eth1");
        let shared = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(shown(&[net]), shared("198.18.0.2/24 fe80::2/64"));
        assert_eq!(shown(&[net, ("address", "198.18.0.2/24")]), shared("198.18.0.2/24"));
        assert_eq!(shown(&[net, ("address", "198.18.0.3/24")]), Ok(None));
        assert_eq!(shown(&[net, ("address", "198.18.5.2/24"), ("vlan", "5")]), shared("198.18.5.2/24"));
        assert_eq!(shown(&[("net", "packet:eth1"), ("address", "198.18.0.2/24")]), Ok(None));
    }

    #[test]
    fn what_does_not_fit_together_is_named() {
        let net = ("net", "xdp:eth1");
        let both = ("address", "198.18.0.2/24 198.18.0.3/24");
        let cases: [(&[(&str, &str)], &str); 4] = [
            (&[("net", "xdp:eth2")], "eth2"),
            (&[net, both], "198.18.0.3 is not"),
            (&[net, ("vlan", "5")], "--address"),
            (&[net, ("address", "198.18.0.2/24"), ("gateway", "198.18.0.1")], "198.18.0.1"),
        ];
        for (settings, expected) in cases {
            let error = shown(settings).unwrap_err();
            assert!(error.contains(expected), "{settings:?}: {error}");
        }
    }
}
