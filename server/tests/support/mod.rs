//! A server in this process, and a client that sees raw replies.
#![allow(missing_docs, unreachable_pub, dead_code, reason = "each test program uses a part")]

pub mod redis;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;

use server::front::kernel::Kernel;
use server::{Config, Engine};

/// A Mayfly server on a port that the system chose.
pub struct Server {
    pub address: SocketAddr,
    pub engine: Arc<Engine>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Server {
    pub fn start() -> Self {
        Self::with(|_| {})
    }
    pub fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config { port: 0, bind: vec!["127.0.0.1".into()], ..Config::default() };
        change(&mut config);
        let kernel = Kernel::bind(&config).expect("a free port");
        let address = kernel.addresses()[0];
        let engine = Arc::new(Engine::new(config, server::front::engine_start(2).expect("randomness")));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (engine, stop) = (engine.clone(), stop.clone());
            move || kernel.run(&engine, &stop).expect("serving")
        });
        Self { address, engine, stop, thread: Some(thread) }
    }
    pub fn client(&self) -> Client<TcpStream> {
        Client::new(TcpStream::connect(self.address).expect("the server listens"))
    }
    /// Waits until the server has ended by itself.
    pub fn wait(mut self) {
        self.thread.take().expect("started").join().expect("no panic");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("no panic in the server");
        }
    }
}

/// A connection to any server that speaks RESP.
pub struct Client<S> {
    stream: BufReader<S>,
}

impl<S: Read + Write> Client<S> {
    pub fn new(stream: S) -> Self {
        Self { stream: BufReader::new(stream) }
    }
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("sent");
    }
    /// Sends one command and gives its raw reply.
    pub fn call(&mut self, args: &[&[u8]]) -> Vec<u8> {
        self.send(&command(args));
        self.reply()
    }
    /// The same for words without blanks, as text.
    pub fn ask(&mut self, line: &str) -> String {
        let args: Vec<&[u8]> = line.split(' ').map(str::as_bytes).collect();
        String::from_utf8_lossy(&self.call(&args)).into_owned()
    }
    /// The raw bytes of one whole reply; empty at the end of the connection.
    pub fn reply(&mut self) -> Vec<u8> {
        let mut raw = Vec::new();
        self.read_value(&mut raw);
        raw
    }
    /// Everything until the server closes.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut raw = Vec::new();
        let _ = self.stream.read_to_end(&mut raw);
        raw
    }
    fn read_value(&mut self, raw: &mut Vec<u8>) {
        let start = raw.len();
        if self.stream.read_until(b'\n', raw).unwrap_or(0) == 0 {
            return;
        }
        let kind = raw[start];
        let text = String::from_utf8_lossy(&raw[start + 1..]).trim_end().to_string();
        let count: i64 = text.parse().unwrap_or(0);
        match kind {
            b'$' | b'=' if count >= 0 => {
                let from = raw.len();
                raw.resize(from + count as usize + 2, 0);
                self.stream.read_exact(&mut raw[from..]).expect("a whole string");
            }
            b'*' | b'~' | b'>' => (0..count).for_each(|_| self.read_value(raw)),
            b'%' => (0..2 * count).for_each(|_| self.read_value(raw)),
            _ => {}
        }
    }
}

/// A command as an array of strings.
pub fn command(args: &[&[u8]]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", args.len()).into_bytes();
    for arg in args {
        bytes.extend(format!("${}\r\n", arg.len()).into_bytes());
        bytes.extend_from_slice(arg);
        bytes.extend_from_slice(b"\r\n");
    }
    bytes
}
