//! Live views: options

use std::time::Duration;

use tidings_core::Watch;

use crate::{
    border::{Text, answer, free, given},
    failure::Status,
    settings::{Options, Settings, set},
};

/// Options for a live view. Unset options keep their defaults.
#[derive(Default)]
pub struct WatchOptions {
    settings: Settings<Watch>,
    at_once: bool,
}

impl Options for WatchOptions {
    type Builder = Watch;

    fn settings(&mut self) -> &mut Settings<Watch> {
        &mut self.settings
    }
}

/// With its options, and whether the caller does not wait.
pub(crate) fn configured(watch: Watch, options: Option<&WatchOptions>) -> (Watch, bool) {
    let Some(WatchOptions { settings, at_once }) = options else { return (watch, false) };
    (settings.apply(watch), *at_once)
}

/// Creates an options object with all defaults, for any number of views. Never NULL. A value that cannot be used is
/// reported by tidings_client_watch().
///
/// Threads: any. The options are yours: free them with tidings_watch_options_free().
#[unsafe(no_mangle)]
pub extern "C" fn tidings_watch_options_new() -> Box<WatchOptions> {
    Box::default()
}

/// Frees options. Views created with them are not affected.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_watch_options_free(options: Option<Box<WatchOptions>>) {
    free(options);
}

/// Lists only records that match this filter, of at most 3,000 characters. Build it with tidings_filter() if it contains
/// values from outside. Default: all records.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_watch_options_set_filter(
    options: Option<&mut WatchOptions>,
    expression: Text<'_>,
) -> Status {
    set(options, || {
        let expression = expression.get("expression")?.to_owned();
        Ok(move |watch: Watch| watch.filter(&*expression))
    })
}

/// The order: names of fields, separated by commas, "-" before those that fall, such as "-created". The id is appended,
/// so that the order is total. Default: by id.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_watch_options_set_sort(
    options: Option<&mut WatchOptions>,
    fields: Text<'_>,
) -> Status {
    set(options, || {
        let fields = fields.get("fields")?.to_owned();
        Ok(move |watch: Watch| watch.sort(&*fields))
    })
}

/// Shows a window: the first `rows` of the list, at least one. Default: all matching records, which are all kept in
/// memory.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_watch_options_set_limit(options: Option<&mut WatchOptions>, rows: usize) -> Status {
    set(options, || Ok(move |watch: Watch| watch.limit(rows)))
}

/// How many rows beyond the limit are kept, so that the server is not asked for each row that leaves the window. Default: 20.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_watch_options_set_slack(options: Option<&mut WatchOptions>, rows: usize) -> Status {
    set(options, || Ok(move |watch: Watch| watch.slack(rows)))
}

/// Relations to put into the rows' "expand", separated by commas. A change of an expanded record is not reported by the
/// server.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_watch_options_set_expand(
    options: Option<&mut WatchOptions>,
    relations: Text<'_>,
) -> Status {
    set(options, || {
        let relations = relations.get("relations")?.to_owned();
        Ok(move |watch: Watch| watch.expand(&*relations))
    })
}

/// How often the view is compared with the server's list, which alone finds records that a rule hides from now on.
/// Default: 300,000 ms; at least 1,000. 0: never.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_watch_options_set_audit(
    options: Option<&mut WatchOptions>,
    interval_ms: u64,
) -> Status {
    set(options, || {
        let interval = (interval_ms > 0).then(|| Duration::from_millis(interval_ms));
        Ok(move |watch: Watch| watch.audit(interval))
    })
}

/// Whether the server alone decides which records match. Default: no; the library does where it can, which costs the
/// server less. For BosBase, whose database compares texts in its own way, and for a host that must not receive what does not
/// match.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_watch_options_set_filter_on_server(
    options: Option<&mut WatchOptions>,
    wanted: bool,
) -> Status {
    set(options, || Ok(move |watch: Watch| if wanted { watch.filter_on_server() } else { watch }))
}

/// Whether tidings_client_watch() waits for the first list. Default: yes. If not, it returns immediately, with or without
/// a network, and the view goes on connecting. What ends it, such as a refusal, is then told as its last news.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_watch_options_set_wait(options: Option<&mut WatchOptions>, wanted: bool) -> Status {
    answer(None, || {
        given(options, "options")?.at_once = !wanted;
        Ok(())
    })
}

/// How long tidings_client_watch() waits for the first list. Default: 30,000 ms.
#[unsafe(no_mangle)]
pub extern "C" fn tidings_watch_options_set_timeout(
    options: Option<&mut WatchOptions>,
    timeout_ms: u64,
) -> Status {
    set(options, || {
        let timeout = Duration::from_millis(timeout_ms);
        Ok(move |watch: Watch| watch.timeout(timeout))
    })
}
