use super::*;

fn text_of_error(text: &str) -> String {
    text.parse::<Device>().expect_err(text).to_string()
}

#[test]
fn every_scheme_parses_and_prints_back() {
    for text in [
        "xdp:veth-a",
        "packet:eth0.100",
        "tap:mayfly0",
        "vhost:/run/mayfly.sock",
        "virtio:/run/mayfly.sock",
        "pci:0000:00:05.0",
        "dpdk:net_null0,size=64",
        "kernel",
    ] {
        let device: Device = text.parse().expect(text);
        assert_eq!(device.to_string(), text);
    }
}

#[test]
fn a_pci_address_gets_its_domain() {
    assert_eq!("pci:05:00.1".parse(), Ok(Device::Pci("0000:05:00.1".into())));
    assert_eq!("pci:0:5:0.1".parse(), Ok(Device::Pci("0000:05:00.1".into())));
    for bad in ["pci:", "pci:5", "pci:00:05", "pci:00:20.0", "pci:00:05.8", "pci:1:2:3:4.5", "pci:xx:05.0"] {
        assert!(text_of_error(bad).contains("PCI address looks like"), "{bad}");
    }
}

#[test]
fn what_cannot_be_a_device_is_refused_with_the_reason() {
    assert!(text_of_error("eth0").contains("'eth0' is no device: expected xdp:IFACE"));
    assert!(text_of_error("afxdp:eth0").contains("expected xdp:IFACE"));
    assert!(text_of_error("").contains("expected xdp:IFACE"));
    assert!(text_of_error("packet:").contains("nothing follows"));
    assert!(text_of_error("packet:0123456789abcdef").contains("at most 15 bytes"));
    assert!(text_of_error("xdp:a,start_queue=3").contains("no spaces, slashes, commas"));
    assert!(text_of_error("tap:a b").contains("no spaces"));
    assert!(text_of_error(&format!("vhost:/{}", "x".repeat(107))).contains("at most 107 bytes"));
    assert!(text_of_error("virtio:/tmp/a,server=1").contains("comma"));
}
