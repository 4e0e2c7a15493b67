//! From what was seen to what is wrong. No I/O. Each finding is proved by what stands in it; what cannot be proved is said
//! to be unproved.

use super::evidence::{
    Answer, Canary, Evidence, Got, Hello, Idle, IdleEnd, Many, OAuth2, Stage, Stream, Superuser,
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) name: &'static str,
    pub(crate) weight: Weight,
    pub(crate) proof: String,
    pub(crate) fix: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Weight {
    Fault,
    /// Not why no events come.
    Warning,
    /// It may be so; the proof needs more.
    Unproved,
}

impl Weight {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::Warning => "warning",
            Self::Unproved => "unproved",
        }
    }
}

/// Clocks of servers and this machine may differ so much without harm.
const CLOCK_TOLERANCE: u64 = 60;
/// Slower than this, a change is not "at once" for anybody.
const SLOW_MS: u64 = 2_000;
/// PocketBase itself ends a quiet stream after 300 seconds.
const SERVERS_IDLE: f64 = 290.0;

/// What is wrong, most fundamental first. What only follows from something more fundamental is left out.
pub(crate) fn judge(seen: &Evidence) -> Vec<Finding> {
    let mut findings = Vec::new();
    let stages: [fn(&Evidence, &mut Vec<Finding>); 5] = [reach, stream, topics, identity, content];
    for stage in stages {
        stage(seen, &mut findings);
        if findings.iter().any(|finding| finding.weight == Weight::Fault) {
            break;
        }
    }
    browser(seen, &mut findings);
    clock_and_version(seen, &mut findings);
    if let Some(idle) = &seen.idle {
        quiet(idle, seen, &mut findings);
    }
    if let Some(many) = &seen.many {
        descriptors(many, &mut findings);
    }
    if let Some(oauth2) = &seen.oauth2 {
        logins_elsewhere(oauth2, &mut findings);
    }
    findings
}

/// 0 well, 1 a fault, 2 could not tell.
pub(crate) fn exit_code(findings: &[Finding]) -> u8 {
    let has = |weight| findings.iter().any(|finding| finding.weight == weight);
    match () {
        () if has(Weight::Fault) => 1,
        () if has(Weight::Unproved) => 2,
        () => 0,
    }
}

fn fault(name: &'static str, proof: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { name, weight: Weight::Fault, proof: proof.into(), fix: fix.into() }
}

fn warning(name: &'static str, proof: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { weight: Weight::Warning, ..fault(name, proof, fix) }
}

fn unproved(name: &'static str, proof: impl Into<String>, fix: impl Into<String>) -> Finding {
    Finding { weight: Weight::Unproved, ..fault(name, proof, fix) }
}

/// The same for every request: what came in place of an answer that can be judged.
fn in_the_way(what: &str, got: &Got) -> Option<Finding> {
    match got {
        Got::Failed { stage, why } => Some(unreachable(what, *stage, why)),
        Got::Answer(answer) if answer.is_redirect() => Some(redirect(what, answer)),
        Got::Answer(answer) if answer.status == 429 => Some(rate_limit(what)),
        Got::Answer(answer) if matches!(answer.status, 502..=504) => {
            let by = answer.header("server").map(|name| format!(" ({name})")).unwrap_or_default();
            let proof = format!("{what}: {} from a proxy{by}", answer.status);
            let fix = "Start the server behind the proxy, or correct the address that the proxy forwards to.";
            Some(fault("unreachable", proof, fix))
        }
        Got::Answer(_) => None,
    }
}

fn unreachable(what: &str, stage: Stage, why: &str) -> Finding {
    let proof = format!("{what}: {why}");
    match stage {
        Stage::Resolve => fault("unreachable", proof, "Correct the host name of the URL, or add it to DNS."),
        Stage::Connect => fault(
            "unreachable",
            proof,
            "Start the server, and check host, port and firewall; a server in a container must listen on \
             0.0.0.0.",
        ),
        Stage::Tls => fault(
            "tls",
            proof,
            "Use a certificate for this host that clients trust, give a private authority with --ca, or use \
             http:// if the port has no TLS.",
        ),
        Stage::Http => fault(
            "unreachable",
            proof,
            "Check that the port is that of an HTTP server; https:// if it has TLS.",
        ),
        Stage::Timeout => fault(
            "unreachable",
            proof,
            "Check the firewall, and whether the server hangs: it took the connection or the packet and said \
             nothing.",
        ),
    }
}

fn redirect(what: &str, answer: &Answer) -> Finding {
    let to = answer.header("location").map_or("?", |to| to.split('?').next().unwrap_or(to));
    fault(
        "redirect",
        format!(
            "{what}: {} to {to}; a POST that follows it becomes a GET or is refused, and its topics are lost",
            answer.status
        ),
        "Give clients the final URL: https or http, with or without www, as the server wants it.",
    )
}

fn rate_limit(what: &str) -> Finding {
    fault(
        "rate-limit",
        format!("{what}: 429"),
        "Raise the rate limit for /api/realtime (PocketBase: Settings, Rate limiting), or make fewer clients \
         reconnect at once.",
    )
}

fn wrong_base_path(proof: String) -> Finding {
    fault(
        "wrong-base-path",
        proof,
        "Give the URL below which /api/ is, and let the proxy pass /api/ on to the server.",
    )
}

fn reach(seen: &Evidence, findings: &mut Vec<Finding>) {
    let Some(health) = &seen.health else { return };
    findings.extend(in_the_way("GET /api/health", health));
    let Some(answer) = health.answer().filter(|_| findings.is_empty()) else { return };
    let kind = answer.header("content-type").unwrap_or("no content type");
    if answer.json().is_none_or(|json| !json.is_object()) || answer.status != 200 {
        let proof =
            format!("GET /api/health: {} with {kind}, where the server answers 200 with JSON", answer.status);
        findings.push(wrong_base_path(proof));
    }
}

fn stream(seen: &Evidence, findings: &mut Vec<Finding>) {
    let Some(stream) = &seen.stream else { return };
    let coding = |stream: &Stream| stream.head.answer().and_then(Answer::coding).map(str::to_owned);
    let is_well = |stream: &Stream| matches!(stream.hello, Hello::Client(_));
    if let Some(coding) = coding(stream) {
        let proof =
            format!("GET /api/realtime: Content-Encoding: {coding}, though only identity was accepted");
        findings.push(compressed(proof));
    } else if is_well(stream) && seen.gzip.as_ref().is_some_and(stalls) {
        let proof =
            "GET /api/realtime: the handshake comes with Accept-Encoding: identity, and not with gzip";
        findings.push(compressed(proof.to_owned()));
    } else if stalls(stream) {
        let what = if stream.head.answer().is_some() { "a head and no handshake" } else { "not even a head" };
        findings.push(fault(
            "buffered",
            format!("GET /api/realtime: {what} in 5 s, while /api/health is answered"),
            "Let the proxy pass on each part of the answer at once: nginx `proxy_buffering off;` for \
             /api/realtime, and no cache, antivirus or inspection between.",
        ));
    } else if let Some(finding) = in_the_way("GET /api/realtime", &stream.head) {
        findings.push(finding);
    } else if let (Some(head), false) = (stream.head.answer(), is_well(stream)) {
        let kind = head.header("content-type").unwrap_or("no content type");
        let proof = format!(
            "GET /api/realtime: {} with {kind}, where the server sends text/event-stream",
            head.status
        );
        findings.push(wrong_base_path(proof));
    } else if let Some(coding) = seen.gzip.as_ref().and_then(coding) {
        let proof = format!(
            "GET /api/realtime: Content-Encoding: {coding} where gzip is accepted; the handshake came all the \
             same"
        );
        findings.push(Finding { weight: Weight::Warning, ..compressed(proof) });
    }
}

/// Nothing is there to read, and no other answer either.
fn stalls(stream: &Stream) -> bool {
    let is_stream = |head: &Answer| {
        head.status == 200
            && head.header("content-type").is_some_and(|kind| kind.starts_with("text/event-stream"))
    };
    stream.hello == Hello::Nothing
        && (stream.head.is_timeout() || stream.head.answer().is_some_and(is_stream))
}

fn compressed(proof: String) -> Finding {
    let fix = "Exclude text/event-stream from compression: a compressor keeps small messages back.";
    fault("compressed", proof, fix)
}

fn topics(seen: &Evidence, findings: &mut Vec<Finding>) {
    let all = seen.posts.len();
    let count = |posts: &[Got], status| posts.iter().filter(|got| got.status() == Some(status)).count();
    let says = |status: u16, text: &str| {
        seen.posts
            .iter()
            .filter_map(Got::answer)
            .any(|answer| answer.status == status && answer.message().contains(text))
    };
    let what = "POST /api/realtime";
    if let Some(finding) = seen.posts.iter().find_map(|got| in_the_way(what, got)) {
        findings.push(finding);
    } else if count(&seen.posts, 404) > 0 {
        let mut proof = format!(
            "{what}: {} of {all} do not know the client id of a stream that is open (404), over fresh \
             connections",
            count(&seen.posts, 404)
        );
        let cookies = &seen.posts_with_cookie;
        let fix = if !cookies.is_empty() && count(cookies, 204) == cookies.len() {
            proof += "; with the cookie of the stream's answer, all are accepted";
            "Keep the balancer's cookie in each client, or bind by address: the instances share no streams."
        } else {
            "Let the balancer send a client always to the same instance (nginx `ip_hash;`), or run one \
             instance: they share no streams."
        };
        findings.push(fault("several-instances", proof, fix));
    } else if count(&seen.posts, 400) > 0 && says(400, "nvalid realtime client") {
        findings.push(different_addresses(format!(
            "{what}: {} of {all} \"Invalid realtime client\": the server sees another address than for the GET",
            count(&seen.posts, 400)
        )));
    } else if seen.post_over_other_family.as_ref().and_then(Got::status) == Some(400) {
        findings.push(different_addresses(format!(
            "{what}: accepted over the IP version of the GET, 400 over the other; the name has addresses of both"
        )));
    } else if count(&seen.posts, 403) > 0 && says(403, "authorization don't match") {
        findings.push(fault(
            "identity-changed",
            format!(
                "{what}: {} of {all} \"authorization don't match\", all with the same token",
                count(&seen.posts, 403)
            ),
            "Let the Authorization header pass unchanged in every request: a proxy, a cache or a middleware \
             removes or replaces it.",
        ));
    } else if let Some(answer) = seen.posts.iter().filter_map(Got::answer).find(|answer| answer.status != 204)
    {
        findings.push(unproved(
            "topics-refused",
            format!("{what}: {} {:?}", answer.status, answer.message()),
            "See what the server's log says of it.",
        ));
    }
}

fn different_addresses(proof: String) -> Finding {
    let fix = "Send GET and POST over the same way out (one proxy, one VPN, IPv4 or IPv6), and tell PocketBase the \
               header with the client's address (Settings, Trusted proxy).";
    fault("different-addresses", proof, fix)
}

fn identity(seen: &Evidence, findings: &mut Vec<Finding>) {
    if let Some(login) = &seen.login
        && login.status() != Some(200)
    {
        let proof = match login {
            Got::Answer(answer) => format!("the login: {} {:?}", answer.status, answer.message()),
            Got::Failed { why, .. } => format!("the login: {why}"),
        };
        findings.push(fault("login-refused", proof, "Correct the name, the password or --auth-collection."));
        return;
    }
    let Some(token) = &seen.token else { return };
    let log_in = "Log in again and use the new token; a token provider does so by itself.";
    // By the server's clock, if it tells it.
    let now = server_time(seen).unwrap_or(seen.now);
    if let Some(expires) = token.expires
        && expires <= now
    {
        findings.push(fault("token-expired", format!("the token expired {} s ago", now - expires), log_in));
    } else if seen.post_as_guest.as_ref().and_then(Got::status) == Some(204) {
        findings.push(fault(
            "token-not-taken",
            "POST /api/realtime without the token, after one with it: 204; the stream is a guest's",
            format!("The token was revoked, its user is gone, or it is of another server. {log_in}"),
        ));
    }
}

fn server_time(seen: &Evidence) -> Option<u64> {
    let date = seen.health.as_ref()?.answer()?.header("date")?;
    let since = httpdate::parse_http_date(date).ok()?.duration_since(std::time::UNIX_EPOCH).ok()?;
    Some(since.as_secs())
}

fn content(seen: &Evidence, findings: &mut Vec<Finding>) {
    let name = seen.collection.as_deref().unwrap_or_default();
    if let Some((column, reason)) = &seen.filter_error {
        let proof = format!("{reason} at column {column} of the filter");
        findings.push(fault("filter", proof, "Correct the filter; no server reads it as it is."));
        return;
    }
    let Some(list) = &seen.list else { return canary(seen, findings) };
    let what = format!("GET /api/collections/{name}/records");
    if let Some(finding) = in_the_way(&what, list) {
        findings.push(finding);
        return;
    }
    match list.status() {
        Some(200) => {}
        Some(404) => {
            let proof = format!("{what}: 404, while subscribing to it is acknowledged");
            findings.push(fault("no-collection", proof, "Correct the name of the collection, or create it."));
            return;
        }
        Some(403) => {
            let proof = format!("{what}: 403; the list rule is locked (null)");
            let fix =
                "Give the collection a list rule (an empty one is for everybody), or log in as a superuser.";
            findings.push(fault("superusers-only", proof, fix));
            return;
        }
        status => {
            let message = list.answer().map(Answer::message).unwrap_or_default();
            let proof = format!("{what}: {} {message:?}", status.unwrap_or_default());
            findings.push(unproved("list-refused", proof, "See what the server's log says of it."));
            return;
        }
    }
    if let Some(answer) = seen.filtered.as_ref().and_then(Got::answer)
        && matches!(answer.status, 400 | 403)
    {
        let proof = format!("{what} with the filter: {} {:?}", answer.status, answer.message());
        let fix =
            "Name only fields that the collection has and that you may see; the server's log has the reason.";
        findings.push(fault("filter", proof, fix));
        return;
    }
    let superuser = seen.superuser.as_ref().filter(|superuser| superuser.collection.status() == Some(200));
    if seen.superuser.is_some() && superuser.is_none() {
        let status =
            seen.superuser.as_ref().and_then(|superuser| superuser.collection.status()).unwrap_or_default();
        let proof = format!("GET /api/collections/{name} as a superuser: {status}");
        let fix = "Put a token of a superuser that is still good into TIDINGS_SUPERUSER_TOKEN.";
        findings.push(unproved("superuser-refused", proof, fix));
    }
    if superuser.is_some_and(is_view) {
        let proof = format!("the collection {name} is a view");
        findings.push(fault(
            "view",
            proof,
            "Subscribe to the collections that the view reads: a view sends no events.",
        ));
        return;
    }
    if list.answer().is_some_and(|answer| answer.items().is_empty()) {
        hidden(&what, superuser, findings);
    }
    relations(seen, findings);
    canary(seen, findings);
}

fn is_view(superuser: &Superuser) -> bool {
    superuser.collection.answer().and_then(Answer::json).is_some_and(|json| json["type"] == "view")
}

fn hidden(what: &str, superuser: Option<&Superuser>, findings: &mut Vec<Finding>) {
    let Some(superuser) = superuser else {
        let proof = format!("{what}: 200 and no records: the list rule hides all, or there are none");
        let fix = "Put the token of a superuser into TIDINGS_SUPERUSER_TOKEN: then the rule is read.";
        findings.push(unproved("nothing-visible", proof, fix));
        return;
    };
    if superuser.list.answer().is_none_or(|answer| answer.items().is_empty()) {
        return;
    }
    let collection = superuser.collection.answer().and_then(Answer::json).unwrap_or_default();
    let rule = collection["listRule"].as_str().unwrap_or_default();
    let mut proof = format!("{what}: no records, while a superuser sees some; the list rule is `{rule}`");
    for clause in &superuser.failing {
        proof += &format!("; for you, no record passes `{clause}`");
    }
    let fix = "Change the rule, or log in as a user who passes it: events follow the list rule.";
    findings.push(fault("rule-hides-everything", proof, fix));
}

/// A relation that is filled in for superusers and not here.
fn relations(seen: &Evidence, findings: &mut Vec<Finding>) {
    let (Some(expand), Some(answer)) = (&seen.expand, seen.expanded.as_ref().and_then(Got::answer)) else {
        return;
    };
    let items = answer.items();
    for relation in expand.split(',').map(|path| path.trim().split('.').next().unwrap_or_default()) {
        let is_set = |item: &serde_json::Value| match &item[relation] {
            serde_json::Value::String(id) => !id.is_empty(),
            serde_json::Value::Array(ids) => !ids.is_empty(),
            _ => false,
        };
        let set: Vec<_> = items.iter().filter(|item| is_set(item)).collect();
        if set.is_empty() || set.iter().any(|item| !item["expand"][relation].is_null()) {
            continue;
        }
        let superuser = seen.superuser.as_ref().and_then(|superuser| superuser.expanded.as_ref());
        let sees = superuser
            .and_then(Got::answer)
            .map(|answer| answer.items().iter().any(|item| !item["expand"][relation].is_null()));
        let mut proof =
            format!("{} records have a `{relation}`, and none has `expand.{relation}`", set.len());
        let fix = format!(
            "Let the view rule of the collection that `{relation}` points to pass this user; it must be a \
             relation."
        );
        match sees {
            Some(true) => proof += "; a superuser gets it",
            Some(false) => proof += "; a superuser does not get it either",
            None => {}
        }
        findings.push(fault("expand-does-nothing", proof, fix));
    }
}

fn canary(seen: &Evidence, findings: &mut Vec<Finding>) {
    let Some(Canary { steps }) = &seen.canary else { return };
    for step in steps {
        let what = step.action;
        if step.answer.status().is_none_or(|status| status >= 300) {
            let message = step.answer.answer().map(Answer::message).unwrap_or_default();
            let proof = format!(
                "the canary could not be {what}d: {} {message:?}",
                step.answer.status().unwrap_or_default()
            );
            let fix = "Give fields that the collection demands with --write-body, and a user who may write.";
            findings.push(unproved("canary-refused", proof, fix));
            return;
        }
        let proof = match step.delay {
            None => format!("the {what} of a canary was answered, and its event did not come in 5 s"),
            Some(delay) if delay > SLOW_MS => {
                format!("the event of a canary's {what} came {delay} ms after the answer")
            }
            Some(_) => continue,
        };
        let fix = "Look for what keeps small parts of the answer back between server and client: a buffer, a \
            limit of rate, an overloaded link; or a hook that delays or prevents the event.";
        findings.push(fault("slow-path", proof, fix));
        return;
    }
}

fn browser(seen: &Evidence, findings: &mut Vec<Finding>) {
    for (what, got) in &seen.cors {
        let Some(answer) = got.answer().filter(|answer| answer.status < 400 && !answer.is_redirect()) else {
            continue;
        };
        let allowed: Vec<&str> = answer.all("access-control-allow-origin").collect();
        let fix = "Let exactly one of proxy and server add Access-Control-Allow-Origin, with * or the page's \
            origin.";
        if allowed.len() > 1 {
            let proof = format!("{what}: Access-Control-Allow-Origin comes {} times", allowed.len());
            findings.push(fault("cors", proof, fix));
            break;
        }
        let Some(origin) = &seen.origin else { continue };
        let proof = match allowed.first() {
            None => format!("{what} from {origin}: no Access-Control-Allow-Origin"),
            Some(allowed) if *allowed != "*" && *allowed != origin => {
                format!("{what} from {origin}: Access-Control-Allow-Origin is {allowed}")
            }
            Some(_) => continue,
        };
        findings.push(fault("cors", proof, fix));
        break;
    }
    if seen.http2 == Some(false) && seen.is_https {
        findings.push(warning(
            "six-connections",
            "TLS offers no HTTP/2 (h2 by ALPN): a browser has six connections to a host for all its tabs, and \
             each stream takes one",
            "Turn HTTP/2 on in the proxy (nginx `http2 on;`).",
        ));
    }
}

fn clock_and_version(seen: &Evidence, findings: &mut Vec<Finding>) {
    if let Some(server) = server_time(seen)
        && server.abs_diff(seen.now) > CLOCK_TOLERANCE
    {
        let way = if server > seen.now { "behind" } else { "ahead of" };
        let proof =
            format!("this machine's clock is {} s {way} the server's (Date)", server.abs_diff(seen.now));
        findings.push(fault(
            "clock",
            proof,
            "Set both clocks by NTP: the life of tokens and @now depend on them.",
        ));
    }
    let error = seen.error.as_ref().and_then(Got::answer).and_then(Answer::json).unwrap_or_default();
    if error["code"].is_number() && error["status"].is_null() {
        findings.push(warning(
            "old-version",
            "errors have a `code`: this is PocketBase before 0.23, or BosBase",
            "Superusers are admins there, and collections have a `schema`; batch requests and OTP do not \
             exist. Update if you miss them.",
        ));
    }
}

fn quiet(idle: &Idle, seen: &Evidence, findings: &mut Vec<Finding>) {
    let is_servers_own = idle.end == IdleEnd::Clean && idle.seconds >= SERVERS_IDLE;
    if idle.end == IdleEnd::Open || is_servers_own {
        return;
    }
    let head = seen.stream.as_ref().and_then(|stream| stream.head.answer());
    let by: Vec<String> = ["cf-ray", "via", "server"]
        .iter()
        .filter_map(|name| Some(format!("{name}: {}", head?.header(name)?)))
        .collect();
    let how = if idle.end == IdleEnd::Clean { "was ended" } else { "was cut" };
    let by = if by.is_empty() { String::new() } else { format!(" ({})", by.join(", ")) };
    let proof =
        format!("a quiet stream {how} after {:.1} s{by}; PocketBase itself waits 300 s", idle.seconds);
    let fix = "Raise the time that the proxy or balancer waits for the server to over 300 s (nginx \
        `proxy_read_timeout 360s;`); where that cannot be (Cloudflare: 100 s), a client reconnects and \
        reports a gap each time.";
    findings.push(fault("quiet-streams-are-cut", proof, fix));
}

fn descriptors(many: &Many, findings: &mut Vec<Finding>) {
    let Some(failure) = &many.failure else { return };
    let why = match failure {
        Got::Answer(answer) => format!("{} {:?}", answer.status, answer.message()),
        Got::Failed { why, .. } => why.clone(),
    };
    let fix = match why.contains("os error 24") {
        true => {
            "This machine ran out of descriptors: raise `ulimit -n` here; the server was not at its limit."
        }
        false => {
            "Raise the limits of the server and of each proxy: `ulimit -n`, nginx `worker_connections`; each \
             stream takes one descriptor, behind a proxy two."
        }
    };
    let proof = format!("{} of {} streams were open when the next failed: {why}", many.opened, many.wanted);
    findings.push(fault("descriptors", proof, fix));
}

fn logins_elsewhere(oauth2: &OAuth2, findings: &mut Vec<Finding>) {
    let OAuth2 { provider, methods, redirect, topic } = oauth2;
    let listed: Vec<String> =
        methods.answer().and_then(Answer::json).map(|json| providers(&json)).unwrap_or_default();
    let name = "oauth2";
    if !listed.contains(provider) {
        let proof = format!(
            "auth-methods: {}; the providers are [{}]",
            methods.status().unwrap_or_default(),
            listed.join(", ")
        );
        findings.push(fault(
            name,
            proof,
            "Configure the provider for the collection (Options, OAuth2), or correct its name.",
        ));
    } else if redirect.status().is_none_or(|status| status == 404 || status >= 500) {
        let proof = format!(
            "GET /api/oauth2-redirect: {}",
            redirect.status().map_or("no answer".to_owned(), |s| s.to_string())
        );
        findings.push(fault(
            name,
            proof,
            "Let the proxy pass /api/oauth2-redirect on to the server; the provider sends people there.",
        ));
    } else if let Some(topic) = topic
        && topic.status() != Some(204)
    {
        let proof = format!("the topic @oauth2 is not acknowledged: {}", topic.status().unwrap_or_default());
        findings.push(fault(name, proof, "See what the server's log says of it."));
    }
}

fn providers(methods: &serde_json::Value) -> Vec<String> {
    let lists = [&methods["oauth2"]["providers"], &methods["authProviders"]];
    let all = lists.iter().filter_map(|list| list.as_array()).flatten();
    let mut names: Vec<_> = all.filter_map(|provider| provider["name"].as_str()).map(str::to_owned).collect();
    // Some servers list them in both places.
    names.sort();
    names.dedup();
    names
}
