//! Which addresses `net xdp:IFACE` shares with the kernel, as the server has them.

use std::net::IpAddr;

use dpdk::{Device, KernelAddress};

use super::Network;

/// The addresses that are shared with the kernel, which has `kernel`; `None`: none are.
///
/// # Errors
/// What is missing or impossible together.
pub(crate) fn shared(
    network: &Network,
    kernel: &[KernelAddress],
) -> Result<Option<Vec<stack::Network>>, String> {
    let given: Vec<IpAddr> = network.addresses.iter().map(|known| known.address.to_ip_addr()).collect();
    let Some(kernels) = nic::shared_with_kernel(&network.device, &given, network.vlan, kernel)? else {
        return match &network.device {
            Device::Xdp(interface) if given.is_empty() => Err(format!(
                "the kernel has no address on '{interface}' that could be shared with it: name those that the server \
                 is to answer on (--address IP/PREFIX)"
            )),
            _ => Ok(None),
        };
    };
    if let Some(gateway) = network.gateways.first() {
        return Err(format!(
            "gateway {gateway}: {} is shared with the kernel, whose routes are used; leave it out",
            network.device
        ));
    }
    if !given.is_empty() {
        return Ok(Some(network.addresses.clone()));
    }
    let own = |known: &KernelAddress| stack::Network {
        address: known.address.into(),
        prefix_len: known.prefix_len,
    };
    Ok(Some(kernels.iter().map(own).collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(settings: &[(&str, &str)]) -> Result<Option<String>, String> {
        let kernel = KernelAddress {
            interface: "eth1".into(),
            address: IpAddr::from([198, 18, 0, 2]),
            prefix_len: 24,
        };
        let mut network = Network::default();
        for (name, value) in settings {
            network.set(name, value).unwrap();
        }
        assert_eq!(network.check(), Ok(()));
        let shared = shared(&network, &[kernel])?;
        Ok(shared.map(|addresses| Network { addresses, ..Network::default() }.show("address")))
    }

    #[test]
    fn the_kernels_addresses_are_the_servers() {
        let net = ("net", "xdp:eth1");
        let shared = |text: &str| Ok(Some(text.to_owned()));
        assert_eq!(shown(&[net]), shared("198.18.0.2/24"));
        assert_eq!(shown(&[net, ("address", "198.18.0.2/16")]), shared("198.18.0.2/16"), "as it was given");
        assert_eq!(shown(&[net, ("address", "198.18.0.3/24")]), Ok(None));
        assert_eq!(shown(&[("net", "packet:eth1"), ("address", "198.18.0.2/24")]), Ok(None));
    }

    #[test]
    fn what_does_not_fit_together_is_named() {
        let net = ("net", "xdp:eth1");
        let cases: [(&[(&str, &str)], &str); 3] = [
            (&[("net", "xdp:eth2")], "eth2"),
            (&[net, ("address", "198.18.0.2/24 198.18.0.3/24")], "198.18.0.3 is not"),
            (&[net, ("address", "198.18.0.2/24"), ("gateway", "198.18.0.1")], "198.18.0.1"),
        ];
        for (settings, expected) in cases {
            let error = shown(settings).unwrap_err();
            assert!(error.contains(expected), "{settings:?}: {error}");
        }
    }
}
