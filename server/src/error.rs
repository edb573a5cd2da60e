//! Error replies. Each of Redis's texts stands here once; commands name them.

use std::borrow::Cow;

/// An error reply: its code and text, without the leading `-`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error(pub Cow<'static, [u8]>);

/// What a command function returns. On `Err` nothing may have been written to the reply.
pub type CommandResult = Result<(), Error>;

impl Error {
    /// A fixed text.
    pub const fn new(text: &'static str) -> Self {
        Self(Cow::Borrowed(text.as_bytes()))
    }
    /// A text made for the occasion.
    #[cold]
    pub fn text(text: impl Into<Vec<u8>>) -> Self {
        Self(Cow::Owned(text.into()))
    }
    /// The wrong number of arguments for the command or subcommand (`client|kill`) `name`.
    #[cold]
    pub fn arity(name: &str) -> Self {
        Self::text(format!("ERR wrong number of arguments for '{name}' command"))
    }
    /// An option's value that is out of range for `name`, as in `SET … EX 0`.
    #[cold]
    pub fn invalid_expire(name: &str) -> Self {
        Self::text(format!("ERR invalid expire time in '{name}' command"))
    }
}

macro_rules! errors {
    ($($(#[$doc:meta])* $name:ident = $text:literal;)*) => {
        $(#[doc = concat!("`", $text, "`")] $(#[$doc])* pub const $name: Error = Error::new($text);)*
    };
}

errors! {
    WRONG_TYPE = "WRONGTYPE Operation against a key holding the wrong kind of value";
    SYNTAX = "ERR syntax error";
    NOT_AN_INTEGER = "ERR value is not an integer or out of range";
    NOT_A_FLOAT = "ERR value is not a valid float";
    MIN_OR_MAX_NOT_A_FLOAT = "ERR min or max is not a float";
    MIN_OR_MAX_NOT_VALID_STRING = "ERR min or max not valid string range item";
    NO_SUCH_KEY = "ERR no such key";
    SAME_OBJECT = "ERR source and destination objects are the same";
    OUT_OF_RANGE = "ERR value is out of range";
    NOT_AN_INT = "ERR value is out of range, value must between -2147483648 and 2147483647";
    NOT_POSITIVE = "ERR value is out of range, must be positive";
    INDEX_OUT_OF_RANGE = "ERR index out of range";
    OFFSET_OUT_OF_RANGE = "ERR offset is out of range";
    OVERFLOW = "ERR increment or decrement would overflow";
    DECREMENT_OVERFLOW = "ERR decrement would overflow";
    NAN_OR_INFINITY = "ERR increment would produce NaN or Infinity";
    STRING_TOO_LONG = "ERR string exceeds maximum allowed size (proto-max-bulk-len)";
    BIT_OFFSET = "ERR bit offset is not an integer or out of range";
    BIT_VALUE = "ERR bit is not an integer or out of range";
    INVALID_CURSOR = "ERR invalid cursor";
    DB_INDEX = "ERR DB index is out of range";
    NOT_AUTHENTICATED = "NOAUTH Authentication required.";
    WRONG_PASSWORD = "WRONGPASS invalid username-password pair or user is disabled.";
    NO_PASSWORD_SET = "ERR AUTH <password> called without any password configured for the default user. Are you sure your configuration is correct?";
    NESTED_MULTI = "ERR MULTI calls can not be nested";
    EXEC_WITHOUT_MULTI = "ERR EXEC without MULTI";
    DISCARD_WITHOUT_MULTI = "ERR DISCARD without MULTI";
    WATCH_INSIDE_MULTI = "ERR WATCH inside MULTI is not allowed";
    NOT_IN_TRANSACTION = "ERR Command not allowed inside a transaction";
    EXEC_ABORT = "EXECABORT Transaction discarded because of previous errors.";
    NO_PROTO = "NOPROTO unsupported protocol version";
    OUT_OF_MEMORY = "OOM command not allowed when used memory > 'maxmemory'.";
    MAX_CLIENTS = "ERR max number of clients reached";
    PROTECTED_MODE = "DENIED Redis is running in protected mode because protected mode is enabled and no password is set for the default user. In this mode connections are only accepted from the loopback interface. If you want to connect from external computers to Redis you may adopt one of the following solutions: 1) Just disable protected mode sending the command 'CONFIG SET protected-mode no' from the loopback interface by connecting to Redis from the same host the server is running, however MAKE SURE Redis is not publicly accessible from internet if you do so. Use CONFIG REWRITE to make this change permanent. 2) Alternatively you can just disable the protected mode by editing the Redis configuration file, and setting the protected mode option to 'no', and then restarting the server. 3) If you started the server manually just for testing, restart it with the '--protected-mode no' option. 4) Setup a an authentication password for the default user. NOTE: You only need to do one of the above things in order for the server to start accepting connections from the outside.";
    NO_SUCH_CLIENT = "ERR No such client";
    NOT_VALID_CLIENT_ID = "ERR Invalid client ID";
    NUMKEYS_NOT_POSITIVE = "ERR numkeys should be greater than 0";
    NUMKEYS_TOO_MANY = "ERR Number of keys can't be greater than number of args";
}
