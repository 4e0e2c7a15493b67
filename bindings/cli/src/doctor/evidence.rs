//! What was seen of a server. Plain data: `examine.rs` fills it over the network, `judge.rs` reads it.

use serde_json::Value;

/// Everything that was asked. What was not asked is `None` or empty.
#[derive(Clone, Debug, Default)]
pub(crate) struct Evidence {
    pub(crate) is_https: bool,
    /// Seconds since 1970 by the clock of this machine, when the health was asked for.
    pub(crate) now: u64,
    pub(crate) health: Option<Got>,
    /// Whether TLS offers HTTP/2.
    pub(crate) http2: Option<bool>,
    /// A path that no server has: its error tells the version.
    pub(crate) error: Option<Got>,
    pub(crate) login: Option<Got>,
    pub(crate) token: Option<Token>,
    /// Without, and with `Accept-Encoding: gzip`.
    pub(crate) stream: Option<Stream>,
    pub(crate) gzip: Option<Stream>,
    /// Topics for the same stream, each over a connection of its own.
    pub(crate) posts: Vec<Got>,
    /// The same with the cookies of the stream's answer, if it has some.
    pub(crate) posts_with_cookie: Vec<Got>,
    /// The same over IPv6 where the stream goes over IPv4, or the other way round, if the name has both.
    pub(crate) post_over_other_family: Option<Got>,
    /// The same without the token.
    pub(crate) post_as_guest: Option<Got>,
    /// The origin of the page that is to be served, if there is one.
    pub(crate) origin: Option<String>,
    /// Answers to requests with an origin.
    pub(crate) cors: Vec<(&'static str, Got)>,
    pub(crate) collection: Option<String>,
    /// The first records, without and with the filter, and with relations.
    pub(crate) list: Option<Got>,
    pub(crate) filter: Option<String>,
    pub(crate) filtered: Option<Got>,
    /// What no server reads, and its column.
    pub(crate) filter_error: Option<(usize, String)>,
    pub(crate) expand: Option<String>,
    pub(crate) expanded: Option<Got>,
    pub(crate) superuser: Option<Superuser>,
    pub(crate) canary: Option<Canary>,
    pub(crate) idle: Option<Idle>,
    pub(crate) many: Option<Many>,
    pub(crate) oauth2: Option<OAuth2>,
}

/// The answer to a request, or why there is none.
#[derive(Clone, Debug)]
pub(crate) enum Got {
    Answer(Answer),
    Failed { stage: Stage, why: String },
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

/// How far a request got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stage {
    Resolve,
    Connect,
    Tls,
    Http,
    Timeout,
}

#[derive(Clone, Debug)]
pub(crate) struct Token {
    /// Seconds since 1970.
    pub(crate) expires: Option<u64>,
}

#[derive(Clone, Debug)]
pub(crate) struct Stream {
    /// The head; its body is empty.
    pub(crate) head: Got,
    pub(crate) hello: Hello,
}

/// What followed the head of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Hello {
    /// The handshake, with the id of the client.
    Client(String),
    /// Something that is compressed.
    Coded,
    /// Nothing.
    Nothing,
}

/// What a superuser sees of the collection.
#[derive(Clone, Debug)]
pub(crate) struct Superuser {
    pub(crate) collection: Got,
    pub(crate) list: Got,
    pub(crate) expanded: Option<Got>,
    /// The parts of the list rule that let no record pass for this user.
    pub(crate) failing: Vec<String>,
}

/// A record that was created, updated and deleted to see its events.
#[derive(Clone, Debug)]
pub(crate) struct Canary {
    pub(crate) steps: Vec<Step>,
}

#[derive(Clone, Debug)]
pub(crate) struct Step {
    pub(crate) action: &'static str,
    pub(crate) answer: Got,
    /// Milliseconds from the answer to the event; `None` if it did not come in time.
    pub(crate) delay: Option<u64>,
}

/// A stream without a message.
#[derive(Clone, Debug)]
pub(crate) struct Idle {
    pub(crate) seconds: f64,
    pub(crate) end: IdleEnd,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdleEnd {
    /// It was still open when the time was over.
    Open,
    /// With the last chunk.
    Clean,
    Cut,
}

#[derive(Clone, Debug)]
pub(crate) struct Many {
    pub(crate) wanted: usize,
    pub(crate) opened: usize,
    pub(crate) failure: Option<Got>,
}

#[derive(Clone, Debug)]
pub(crate) struct OAuth2 {
    pub(crate) provider: String,
    pub(crate) methods: Got,
    pub(crate) redirect: Got,
    pub(crate) topic: Option<Got>,
}

impl Got {
    pub(crate) fn answer(&self) -> Option<&Answer> {
        match self {
            Self::Answer(answer) => Some(answer),
            Self::Failed { .. } => None,
        }
    }

    pub(crate) fn status(&self) -> Option<u16> {
        self.answer().map(|answer| answer.status)
    }

    pub(crate) fn is_timeout(&self) -> bool {
        matches!(self, Self::Failed { stage: Stage::Timeout, .. })
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.headers.iter().filter(move |(given, _)| given == name).map(|(_, value)| value.as_str())
    }

    /// How the body is compressed, if it is.
    pub(crate) fn coding(&self) -> Option<&str> {
        self.header("content-encoding").filter(|coding| *coding != "identity")
    }

    pub(crate) fn json(&self) -> Option<Value> {
        serde_json::from_str(&self.body).ok()
    }

    /// The message of an error.
    pub(crate) fn message(&self) -> String {
        let json = self.json().unwrap_or_default();
        json["message"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn items(&self) -> Vec<Value> {
        match self.json() {
            Some(mut json) => match json["items"].take() {
                Value::Array(items) => items,
                _ => Vec::new(),
            },
            None => Vec::new(),
        }
    }

    pub(crate) fn is_redirect(&self) -> bool {
        matches!(self.status, 301 | 302 | 303 | 307 | 308)
    }
}
