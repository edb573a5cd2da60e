use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, TcpListener};
use std::process::{Child, Command, Stdio};

use super::*;
use crate::workload::ClosesFirst;

const V4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const V6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// A real redis-server on a loopback port of its own, ended on drop.
struct Redis {
    child: Child,
    target: SocketAddr,
}

impl Drop for Redis {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_target(addr: IpAddr) -> SocketAddr {
    let listener = TcpListener::bind((addr, 0)).expect("loopback");
    listener.local_addr().expect("bound")
}

/// `None` (and a message) when there is no redis-server on this machine.
fn redis(addr: IpAddr) -> Option<Redis> {
    for _ in 0..10 {
        let target = free_target(addr);
        let port = target.port().to_string();
        let started = Command::new("redis-server")
            .args(["--port", &port, "--bind", &addr.to_string(), "--save", "", "--appendonly", "no"])
            .args(["--dir", "/", "--daemonize", "no"])
            .stdout(Stdio::null())
            .spawn();
        let Ok(child) = started else {
            eprintln!("SKIPPED: no redis-server on this machine (Debian package redis-server)");
            return None;
        };
        let mut redis = Redis { child, target };
        // Until it listens, or has found the port taken and is gone.
        while let Ok(None) = redis.child.try_wait() {
            if std::net::TcpStream::connect(target).is_ok() {
                return Some(redis);
            }
            std::thread::yield_now();
        }
    }
    panic!("redis-server found no free port in ten attempts");
}

/// Runs `requests` to the end on the system's clock.
fn complete(target: SocketAddr, connections: usize, workload: WorkloadConfig, requests: u64) -> Results {
    let mut clients =
        KernelClients::new(target, connections, Duration::from_secs(20), workload).expect("epoll");
    let origin = std::time::Instant::now();
    let now = || Instant::from_micros(origin.elapsed().as_micros() as u64);
    let until = |clients: &mut KernelClients, allowed| {
        clients.workload().allow(allowed);
        loop {
            clients.round(now()).expect("epoll");
            if clients.workload_ref().settled() && clients.idle() {
                return;
            }
        }
    };
    until(&mut clients, 0);
    clients.workload().begin_measuring();
    until(&mut clients, requests);
    clients.results().clone()
}

#[test]
fn a_real_redis_answers_everything_rightly() {
    for addr in [V4, V6] {
        let Some(redis) = redis(addr) else { return };
        answers_rightly(redis.target);
    }
}

fn answers_rightly(target: SocketAddr) {
    let base = WorkloadConfig { keys: 100, get_percent: 50, ..WorkloadConfig::default() };
    for (connections, workload) in [
        (10, base.clone()),
        (10, WorkloadConfig { closes: ClosesFirst::Server, ..base.clone() }),
        (3, WorkloadConfig { requests_per_connection: None, pipeline: 16, ..base.clone() }),
        (
            3,
            WorkloadConfig {
                requests_per_connection: Some(7),
                value_bytes: 100_000,
                seed: 2,
                ..base.clone()
            },
        ),
        (3, WorkloadConfig { requests_per_connection: None, value_bytes: 0, seed: 3, ..base.clone() }),
    ] {
        let results = complete(target, connections, workload.clone(), 1000);
        assert_eq!(results.errors.total(), 0, "{workload:?}: {:?}", results.first_error);
        assert_eq!(results.transactions, 1000, "{workload:?}");
        assert!(results.connections >= 1000 / workload.requests_per_connection.unwrap_or(1000));
    }
}

#[test]
fn a_key_that_was_not_loaded_and_a_wrong_seed_are_wrong_replies() {
    let Some(redis) = redis(V4) else { return };
    let workload = WorkloadConfig { keys: 1, load: false, ..WorkloadConfig::default() };
    let results = complete(redis.target, 1, workload.clone(), 1);
    assert_eq!(results.errors.of(ErrorKind::WrongReply), 1);
    assert!(results.first_error.is_some_and(|text| text.contains("not there")));
    complete(redis.target, 1, WorkloadConfig { load: true, ..workload.clone() }, 1);
    let results = complete(redis.target, 1, WorkloadConfig { seed: 2, ..workload.clone() }, 1);
    assert_eq!(results.errors.of(ErrorKind::WrongReply), 1);
    let password = Some("nobody set one".to_owned());
    let results = complete(redis.target, 1, WorkloadConfig { password, ..workload }, 1);
    assert_eq!(results.errors.of(ErrorKind::ErrorReply), 1);
}

#[test]
fn a_port_where_nobody_listens_refuses() {
    let workload = WorkloadConfig { load: false, ..WorkloadConfig::default() };
    for addr in [V4, V6] {
        let results = complete(free_target(addr), 2, workload.clone(), 4);
        assert_eq!((results.errors.of(ErrorKind::Refused), results.errors.total()), (4, 4), "{addr}");
    }
}

#[test]
fn a_run_loads_warms_up_measures_exactly_and_drains() {
    use crate::run::{Limit, Plan, RunError, Stage, run};
    use std::sync::atomic::AtomicBool;

    let Some(redis) = redis(V4) else { return };
    let clock = dpdk::Clock::start();
    let second = Duration::from_secs(1);
    let plan = Plan {
        warmup: Duration::from_micros(2000),
        limit: Limit::Requests(300),
        errors_max: 5,
        drain_max: second,
    };
    let workload = WorkloadConfig { keys: 40, ..WorkloadConfig::default() };
    let clients = |workload: &WorkloadConfig| {
        KernelClients::new(redis.target, 5, second, workload.clone()).expect("epoll")
    };
    let mut stages = Vec::new();
    let outcome = run(&mut clients(&workload), &plan, &clock, &AtomicBool::new(false), &mut |status| {
        stages.push(status.stage);
    })
    .expect("redis answers");
    assert!(outcome.good(), "{:?}", outcome.results);
    assert_eq!((outcome.results.transactions, outcome.results.connections), (300, 300));
    assert_eq!(stages.first(), Some(&Stage::Load));

    let wrong = WorkloadConfig { seed: 2, load: false, ..workload.clone() };
    let outcome =
        run(&mut clients(&wrong), &plan, &clock, &AtomicBool::new(false), &mut |_| {}).expect("a run");
    assert!(outcome.gave_up && !outcome.good());

    let unknown = WorkloadConfig { password: Some("none was set".to_owned()), ..workload };
    let refused = run(&mut clients(&unknown), &plan, &clock, &AtomicBool::new(false), &mut |_| {});
    assert!(matches!(refused, Err(RunError::Load(text)) if text.contains("AUTH")));
}
