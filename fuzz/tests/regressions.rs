//! Inputs that once failed, each with what was wrong.

/// Runs a target on an input written in hexadecimal.
fn passes(target: &str, input: &str) {
    let target = fuzz::find(target).expect("a target");
    let digits: Vec<u8> = input.bytes().filter(u8::is_ascii_hexdigit).collect();
    let byte = |pair: &[u8]| {
        u8::from_str_radix(std::str::from_utf8(pair).expect("digits"), 16).expect("a byte in hexadecimal")
    };
    let bytes: Vec<u8> = digits.chunks(2).map(byte).collect();
    (target.run)(&bytes);
}

/// A SYN of the peer crossed ours while ARP was still unanswered: the connection went to
/// SYN_RECEIVED, where nobody asked for the neighbour any more, and stayed for ever.
#[test]
fn a_simultaneous_open_before_arp_answers_ends() {
    passes(
        "stack",
        "08c8fae53d283d8070ac7218796cc3e7141e74a14b9b526ee738227b3256c308c1e8c5edab4f1aa26285abc6a8 \
         0d38cb8bd4c838931723269b30bcc9f69cf14660944acc691f833cae6c563558cfbfb937364d9416eba28c06dc \
         870525e7a189c2a4d15bd0af40ebaa6292677ef5da110f85953ab42f5ec5073350fb673ab1e7e80a0722c9a937 \
         111b402f81284ada074f1667d7c216dd637fa2b8cbd03295aa20038bfebcfc5c9820b4ad60dc261baf1958223a \
         b8df469dde61c8752dc4251747ca607e0dd2a6b2ca97fcb5f2aba94cbeef00e97ab4ea231e6fc329999800e96f \
         8c5492b1c9ed807c91803e4fd9bec2795e41a384c9cdce7a09403b03121a5b4c614a4ecbffef7997e8e33a1aa7 \
         e1f5e99434b7f82c69fea41b8b8d32203b51fa9d779a44fb7bb0da35cbabfda31669ac940a159f3323c44b91ea \
         26102b1e0f88e26cbaea5dab055692e7b9b7d06d5b76790e71877324d924d5052a075f4e6e5fa0cf5df2c97fab \
         9f0bff99157b7501c750518e6ca0c42fa34013ea37cdfb580464ca6f2407b0a4a7023601955a96f7b9516c05",
    );
}
