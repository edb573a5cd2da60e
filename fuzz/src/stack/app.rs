//! The application: it checks what it is given and does what the program says.

use std::collections::BTreeMap;

use netcore::{FourTuple, Instant};
use stack::{App, ConnectionId, EndReason, Next, Output};

/// What the application does with the next input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mood {
    /// Reads.
    Read,
    /// Reads and answers with so many bytes.
    Answer(usize),
    /// Reads and then wants nothing more for now.
    Wait,
    /// Closes.
    Close,
    /// Resets.
    Abort,
}

/// One connection as the application sees it.
#[derive(Clone, Debug)]
pub(super) struct Open {
    pub(super) id: ConnectionId,
    /// Bytes delivered, that nobody has compared yet, and how many were before them.
    pub(super) delivered: Vec<u8>,
    pub(super) compared: usize,
    /// Bytes written.
    pub(super) written: usize,
    peer_closed: bool,
    waits: bool,
    over: bool,
}

/// All sessions, by the peer's port.
#[derive(Debug, Default)]
pub(super) struct TestApp {
    pub(super) open: BTreeMap<u16, Open>,
    pub(super) mood: Option<Mood>,
    pub(super) refuse: bool,
    pub(super) half_open: bool,
    pub(super) wake: Vec<ConnectionId>,
    /// What a resumed connection writes.
    pub(super) resumed: usize,
    /// How many sessions there are.
    pub(super) sessions: usize,
}

/// The byte that an application writes at `offset` of its stream.
pub(super) fn written_byte(offset: usize) -> u8 {
    (offset.wrapping_mul(0x9e37_79b1) >> 13) as u8
}

impl TestApp {
    fn write(&mut self, port: u16, count: usize, output: &mut Output) {
        let Some(open) = self.open.get_mut(&port) else { return };
        let bytes: Vec<u8> = (open.written..open.written + count).map(written_byte).collect();
        open.written += count;
        match count % 2 {
            0 => output.put(&bytes),
            _ => output.put_shared(&bytes.into()),
        }
    }

    fn follow(&mut self, port: u16, output: &mut Output) -> Next {
        let next = match self.mood.unwrap_or(Mood::Read) {
            Mood::Read => Next::Continue,
            Mood::Answer(count) => {
                self.write(port, count, output);
                Next::Continue
            }
            Mood::Wait => Next::Wait,
            Mood::Close => Next::Close,
            Mood::Abort => Next::Abort,
        };
        if let Some(open) = self.open.get_mut(&port) {
            open.waits = next == Next::Wait;
            open.over |= matches!(next, Next::Close | Next::Abort);
        }
        next
    }
}

impl App for TestApp {
    type Session = u16;

    fn begin(&mut self, _: Instant) {}

    fn connected(
        &mut self,
        id: ConnectionId,
        ends: &FourTuple,
        session: &mut Option<u16>,
        output: &mut Output,
    ) -> bool {
        assert_eq!(*session, None, "it leaves none behind");
        if self.refuse {
            output.put(&[written_byte(0)]);
            return false;
        }
        let port = ends.remote_port;
        let open = Open {
            id,
            delivered: Vec::new(),
            compared: 0,
            written: 0,
            peer_closed: false,
            waits: false,
            over: false,
        };
        let before = self.open.insert(port, open);
        assert!(before.is_none(), "two connections of one name");
        self.sessions += 1;
        *session = Some(port);
        true
    }

    fn received(&mut self, session: &mut u16, input: &[u8], output: &mut Output) -> Next {
        assert!(!input.is_empty(), "called for nothing");
        let open = self.open.get_mut(session).expect("connected before");
        assert!(!open.over, "input after the application closed");
        assert!(!open.waits, "input while the application waits");
        assert!(!open.peer_closed, "input behind the peer's FIN");
        open.delivered.extend_from_slice(input);
        self.follow(*session, output)
    }

    fn resumed(&mut self, session: &mut u16, output: &mut Output) -> Next {
        let open = self.open.get_mut(session).expect("connected before");
        // Somebody may want to wake a connection that the application has closed meanwhile: what it
        // writes then goes nowhere.
        match open.over {
            true => output.put(b"too late"),
            false => self.write(*session, self.resumed, output),
        }
        self.follow(*session, output)
    }

    fn peer_closed(&mut self, session: &mut u16, _: &mut Output) -> Next {
        let open = self.open.get_mut(session).expect("connected before");
        assert!(!open.peer_closed && !open.over, "told twice, or after the application closed");
        open.peer_closed = true;
        if self.half_open {
            return Next::Continue;
        }
        open.over = true;
        Next::Close
    }

    fn closed(&mut self, session: &mut Option<u16>, _: EndReason) {
        let session = session.take().expect("connected before");
        self.sessions -= 1;
        self.open.remove(&session);
    }

    fn woken(&mut self, into: &mut Vec<ConnectionId>) {
        into.append(&mut self.wake);
    }
}
