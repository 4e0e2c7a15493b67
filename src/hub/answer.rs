//! Answers of the owner's choice, in place of the proper ones.

use std::time::Duration;

use hyper::StatusCode;
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use serde_json::json;

use super::wire::Fate;

/// What a request gets instead of its proper answer.
///
/// ```
/// # use std::time::Duration;
/// # use tidings::hub::{Answer, Endpoint, Hub};
/// let hub = Hub::start()?;
/// let busy = Answer::status(429).retry_after(Duration::from_secs(2));
/// hub.faults().answer_next(Endpoint::Submit, busy, 3);
/// // The real server's rate limit names no time.
/// hub.faults().answer_next(Endpoint::Submit, Answer::status(429), 1);
/// hub.faults().answer_next(Endpoint::Connect, Answer::html("<h1>Sign in to the Wi-Fi</h1>"), 1);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Answer(pub(super) Reaction);

#[derive(Debug, Clone)]
pub(super) enum Reaction {
    Respond { status: StatusCode, headers: HeaderMap, body: Vec<u8> },
    Alter(Alteration),
    Silence,
    End(Fate),
}

/// What is done to a proper answer on its way out.
#[derive(Debug, Clone)]
pub(super) enum Alteration {
    Mislabel(HeaderValue),
    Gzip,
}

impl Answer {
    /// A status with the error body that the real server would send.
    ///
    /// # Panics
    /// If `status` is not between 100 and 999.
    #[must_use]
    pub fn status(status: u16) -> Self {
        #[expect(clippy::expect_used, reason = "documented")]
        let status = StatusCode::from_u16(status).expect("a status is between 100 and 999");
        let answer = Self(Reaction::Respond { status, headers: HeaderMap::new(), body: Vec::new() });
        if status.as_u16() < 400 {
            return answer;
        }
        let reason = status.canonical_reason().unwrap_or("Error");
        let error = json!({ "data": {}, "message": format!("{reason}."), "status": status.as_u16() });
        answer.content_type("application/json").body(error.to_string())
    }

    /// 200 with a web page: a captive portal, or a proxy's error page.
    #[must_use]
    pub fn html(page: impl Into<Vec<u8>>) -> Self {
        Self::status(200).content_type("text/html; charset=utf-8").body(page)
    }

    /// 307 to another address.
    ///
    /// # Panics
    /// If `url` cannot be a header's value.
    ///
    /// ```
    /// # use tidings::hub::{Answer, Endpoint, Hub};
    /// # let hub = Hub::start()?;
    /// hub.faults().answer_next(Endpoint::Connect, Answer::redirect("http://127.0.0.1:1/api/realtime"), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn redirect(url: &str) -> Self {
        Self::status(307).header("location", url)
    }

    /// The proper answer under another content type, a stream included.
    ///
    /// # Panics
    /// If `content_type` cannot be a header's value.
    ///
    /// ```
    /// # use tidings::hub::{Answer, Endpoint, Hub};
    /// # let hub = Hub::start()?;
    /// hub.faults().answer_next(Endpoint::Connect, Answer::mislabelled("text/plain"), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn mislabelled(content_type: &str) -> Self {
        Self(Reaction::Alter(Alteration::Mislabel(value(content_type))))
    }

    /// The proper answer, a stream included, with `Content-Encoding: gzip`,
    /// whether the client accepts that or not: a proxy that knows better.
    ///
    /// ```
    /// # use tidings::hub::{Answer, Endpoint, Hub};
    /// # let hub = Hub::start()?;
    /// hub.faults().answer_next(Endpoint::Connect, Answer::gzipped(), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn gzipped() -> Self {
        Self(Reaction::Alter(Alteration::Gzip))
    }

    /// Nothing at all, not even headers, on a connection that stays open: a
    /// proxy that buffers, or a server that hangs.
    ///
    /// ```
    /// # use tidings::hub::{Answer, Endpoint, Hub};
    /// # let hub = Hub::start()?;
    /// hub.faults().answer_next(Endpoint::Connect, Answer::silence(), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn silence() -> Self {
        Self(Reaction::Silence)
    }

    /// The connection is closed without an answer.
    ///
    /// ```
    /// # use tidings::hub::{Answer, Endpoint, Hub};
    /// # let hub = Hub::start()?;
    /// hub.faults().answer_next(Endpoint::Submit, Answer::hang_up(), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn hang_up() -> Self {
        Self(Reaction::End(Fate::Cut))
    }

    /// The connection is reset without an answer.
    ///
    /// ```
    /// # use tidings::hub::{Answer, Endpoint, Hub};
    /// # let hub = Hub::start()?;
    /// hub.faults().answer_next(Endpoint::Submit, Answer::reset(), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn reset() -> Self {
        Self(Reaction::End(Fate::Reset))
    }

    /// Sets the body. Without effect on an answer that has none.
    #[must_use]
    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        if let Reaction::Respond { body, .. } = &mut self.0 {
            *body = bytes.into();
        }
        self
    }

    /// Sets `Content-Type`.
    ///
    /// # Panics
    /// If it cannot be a header's value.
    #[must_use]
    pub fn content_type(self, content_type: &str) -> Self {
        self.header(header::CONTENT_TYPE.as_str(), content_type)
    }

    /// Sets `Retry-After`, rounded up to whole seconds.
    #[must_use]
    pub fn retry_after(self, wait: Duration) -> Self {
        let seconds = wait.as_secs() + u64::from(wait.subsec_nanos() > 0);
        self.header(header::RETRY_AFTER.as_str(), &seconds.to_string())
    }

    /// Sets a header. Without effect on an answer that has none.
    ///
    /// # Panics
    /// If the name or the value is not one of a header.
    #[must_use]
    pub fn header(mut self, name: &str, text: &str) -> Self {
        if let Reaction::Respond { headers, .. } = &mut self.0 {
            #[expect(clippy::expect_used, reason = "documented")]
            let name: HeaderName = name.parse().expect("the name of a header");
            headers.insert(name, value(text));
        }
        self
    }
}

#[expect(clippy::expect_used, reason = "documented where it is called")]
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).expect("the value of a header")
}
