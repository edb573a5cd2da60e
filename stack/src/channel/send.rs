//! Messages of the channel that no connection sends: HELLO, LISTEN, UNLISTEN, ABORT.

use netcore::{Frame, FramePool, Instant};
use protocol::channel::{Abort, FlowId, Hello, Kind, Listen, ListenStatus, MessageFlags, NO_HANDLE};

use crate::config::Config;
use crate::env::{Control, Env};
use crate::listen::{Announced, Listener, Listeners};
use crate::output::{Blocked, segment};

/// Queues what is due: a HELLO while nobody answers, LISTEN for each port not acknowledged.
pub(crate) fn repeat<F: Frame>(env: &mut Env<F>, listeners: &mut Listeners) {
    if !env.channel.is_used() || next_deadline(env, listeners).is_none_or(|due| due > env.now) {
        return;
    }
    let is_up = env.channel.is_up();
    if env.channel.hello_due <= env.now && (!is_up || env.channel.watch.is_some()) {
        let heartbeat = env.channel.watch.as_mut().filter(|_| is_up).map(|watch| {
            watch.asks(env.now);
            watch.heartbeat
        });
        env.channel.hello_due = env.now + heartbeat.unwrap_or(super::REPEAT);
        // Nobody may take frames for long; one HELLO is enough to say then.
        if !env.controls.iter().any(|control| matches!(control, Control::Hello { .. })) {
            env.controls.push_back(Control::Hello { reply: false });
        }
    }
    if !is_up || !env.channel.has_listeners() {
        return;
    }
    for listener in listeners.iter_mut() {
        if let Announced::Due(due) = listener.announced
            && due <= env.now
        {
            listener.announced = Announced::Due(env.now + super::REPEAT);
            env.controls.push_back(Control::Listen(listener.local, listener.port));
        }
    }
}

/// When [`repeat`] has something to do.
pub(crate) fn next_deadline<F>(env: &Env<F>, listeners: &Listeners) -> Option<Instant> {
    if !env.channel.is_used() {
        return None;
    }
    if !env.channel.is_up() {
        return Some(env.channel.hello_due);
    }
    let due = |listener: &Listener| match listener.announced {
        Announced::Due(due) => Some(due),
        Announced::Accepted | Announced::Refused => None,
    };
    let announcing = listeners.iter().filter(|_| env.channel.has_listeners()).filter_map(due);
    let watching = env.channel.watch.as_ref().map(|watch| {
        let gone = watch.deadline();
        gone.map_or(env.channel.hello_due, |gone| gone.min(env.channel.hello_due))
    });
    announcing.chain(watching).min()
}

/// Sends one queued message.
pub(crate) fn control<F: Frame>(
    env: &mut Env<F>,
    listeners: &Listeners,
    pool: &mut impl FramePool<Frame = F>,
    control: &Control,
) -> Result<(), Blocked> {
    let none = (FlowId::default(), NO_HANDLE);
    match *control {
        Control::Hello { reply } => {
            let hello = Hello { news: env.channel.news_said, ..Hello::new(env.channel.epoch, 1) };
            let flags = if reply { MessageFlags::REPLY } else { MessageFlags::default() };
            send(env, pool, (Kind::Hello, flags), none, Hello::LEN, |out| hello.emit(out))
        }
        Control::Listen(local, port) => {
            // Gone again before its turn came.
            let Some(listener) = listeners.find(local, port) else { return Ok(()) };
            let body = listen_body(&env.config, listener);
            send(env, pool, (Kind::Listen, MessageFlags::default()), none, Listen::LEN, |out| body.emit(out))
        }
        Control::Unlisten(local, port) => {
            let policy = protocol::channel::AcceptPolicy::Immediate;
            let listener = Listener { local, port, policy, announced: Announced::Accepted };
            let body = listen_body(&env.config, &listener);
            let head = (Kind::Unlisten, MessageFlags::default());
            send(env, pool, head, none, Listen::LEN, |out| body.emit(out))
        }
        Control::Abort { flow, handle, snd_nxt, rcv_nxt } => {
            let head = (Kind::Abort, MessageFlags::default());
            let body = Abort { snd_nxt, rcv_nxt };
            send(env, pool, head, (flow, handle), Abort::LEN, |out| body.emit(out))
        }
        Control::Bare(ref bare) => segment::bare(env, pool, bare),
        Control::Advertise { local, to, mac, solicited } => {
            crate::ip::advertise(env, pool, (local, to, mac, solicited))
        }
        Control::Solicit(addr) => {
            if crate::ip::neighbour::solicit(env, pool, addr) {
                Ok(())
            } else {
                Err(Blocked)
            }
        }
    }
}

fn listen_body(config: &Config, listener: &Listener) -> Listen {
    Listen {
        addr: config.address(listener.local),
        port: listener.port,
        policy: listener.policy,
        mss: config.mss(config.address(listener.local).version()),
        window_scale: config.window_scale(),
        status: ListenStatus::Unanswered,
        window: config.receive_window.min(0xffff) as u16,
        backlog: config.backlog_max as u32,
        connections_max: config.listen_max,
        refusal: config.refusal,
    }
}

fn send<F: Frame>(
    env: &mut Env<F>,
    pool: &mut impl FramePool<Frame = F>,
    head: (Kind, MessageFlags),
    (flow, handle): (FlowId, u32),
    len: usize,
    emit: impl FnOnce(&mut [u8]),
) -> Result<(), Blocked> {
    if env.tx.is_full() {
        env.counters.tx_queue_full += 1;
        return Err(Blocked);
    }
    let mut frame = env.frame(pool, len).ok_or(Blocked)?;
    emit(frame.append(len).ok_or(Blocked)?);
    segment::message(env, &mut frame, head, flow, handle)?;
    env.tx.push(frame).map_err(|_| Blocked)
}
