//! Settings of a hub before it starts.

use std::{
    io,
    sync::{Arc, Mutex},
    time::Duration,
};

use super::{
    Hub, run, server,
    state::{Settings, Shared},
};

/// Settings for a new [`Hub`].
///
/// ```
/// # use std::time::Duration;
/// # use tidings::hub::Hub;
/// let hub = Hub::builder().seed(42).strict().token_lifetime(Duration::from_secs(60)).start()?;
/// assert_eq!(hub.seed(), 42);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Builder {
    port: u16,
    settings: Settings,
}

impl Builder {
    pub(super) fn new() -> Self {
        Self {
            port: 0,
            settings: Settings {
                seed: fastrand::u64(..),
                strict: false,
                queue: 100_000,
                token_lifetime: Duration::from_secs(7 * 24 * 3600),
                heartbeat: Duration::from_secs(15),
                require_token: false,
                wrapped: false,
                check_ip: true,
                bosbase: false,
            },
        }
    }

    /// The port to listen on. Default: a free one.
    #[must_use]
    pub fn port(mut self, port: u16) -> Self {
        self.port = port;
        self
    }

    /// See [`Hub::seed`].
    #[must_use]
    pub fn seed(mut self, seed: u64) -> Self {
        self.settings.seed = seed;
        self
    }

    /// Answers 404 for collections that were not declared, as the real server
    /// does, instead of making them.
    #[must_use]
    pub fn strict(mut self) -> Self {
        self.settings.strict = true;
        self
    }

    /// How many messages may be queued for a slow reader before its stream is cut.
    /// Default: 100,000; in any case at most 256 MiB.
    #[must_use]
    pub fn queue(mut self, messages: usize) -> Self {
        self.settings.queue = messages;
        self
    }

    /// How long tokens are valid, in whole seconds. Default: a week.
    #[must_use]
    pub fn token_lifetime(mut self, lifetime: Duration) -> Self {
        self.settings.token_lifetime = lifetime;
        self
    }

    /// Time between the `:keepalive` comments of a RustBaaS stream. Default: 15 s.
    /// [`Faults::lose_heartbeats`](super::Faults::lose_heartbeats) stops them.
    #[must_use]
    pub fn heartbeat(mut self, interval: Duration) -> Self {
        self.settings.heartbeat = interval;
        self
    }

    /// Answers 401 to requests for a RustBaaS stream without a valid token (see
    /// [`Hub::token`]). By default they are open to everyone.
    #[must_use]
    pub fn require_token(mut self) -> Self {
        self.settings.require_token = true;
        self
    }

    /// Sends the changes of RustBaaS streams as its server does,
    /// `{"kind":"record_created","record":{…}}`, and not as its page has them,
    /// the record alone. Streams below `/api/workspaces/` always have that form.
    #[must_use]
    pub fn rustbaas_wrapped(mut self) -> Self {
        self.settings.wrapped = true;
        self
    }

    /// Accepts a submit from any address. By default it must come from the address
    /// of its stream, as PocketBase requires since 0.38.2; BosBase does not.
    #[must_use]
    pub fn any_address(mut self) -> Self {
        self.settings.check_ip = false;
        self
    }

    /// Answers as BosBase does where it differs from PocketBase, of which it is
    /// a fork: ids are UUIDs; records carry `createdBy` and `updatedBy`; tokens
    /// are valid for 36,500 days; a changed password leaves open streams to
    /// their user, and deleting the user does not; a submit may come from
    /// [any address](Self::any_address); no stream is ended for its age; a
    /// backslash in a filter escapes nothing but the text's own quote.
    #[must_use]
    pub fn bosbase(mut self) -> Self {
        self.settings.bosbase = true;
        self.settings.token_lifetime = Duration::from_secs(36_500 * 24 * 3600);
        self.any_address()
    }

    /// Starts the hub.
    ///
    /// # Errors
    /// If the port cannot be bound or no thread started.
    pub fn start(self) -> io::Result<Hub> {
        let listener = server::listen(self.port)?;
        let addr = listener.get_ref().local_addr()?;
        let shared = Arc::new(Shared::new(self.settings));
        let thread = Mutex::new(Some(run(listener, &shared)?));
        Ok(Hub { shared, addr, thread })
    }
}
