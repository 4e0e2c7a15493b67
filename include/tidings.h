// tidings: a realtime client for PocketBase, BosBase and RustBaaS servers, and for any stream of server-sent events.
//
//     static void on_event(const tidings_event *event, void *user_data) {
//         (void)user_data;
//         const char *record = tidings_event_record(event);
//         printf("%s %s\n", tidings_action_name(tidings_event_action(event)), record ? record : "");
//     }
//
//     int main(void) {
//         tidings_client *client = NULL;
//         tidings_error *error = NULL;
//         if (tidings_client_new("http://127.0.0.1:8090", NULL, &client, &error) == TIDINGS_OK
//             && tidings_client_subscribe(client, "posts", "*", NULL, on_event, NULL, NULL, NULL, &error) == TIDINGS_OK)
//             getchar(); // meanwhile on_event is called, on a thread of the client
//         if (error) fprintf(stderr, "%s\n", tidings_error_message(error));
//         tidings_error_free(error);
//         tidings_client_free(client);
//     }
//
// Defaults
//     Unless a function says otherwise:
//     - Setters of options (tidings_..._options_set_..., _add_..., _on_...): one thread at a time. Texts and bytes are
//       copied. They return TIDINGS_ERR_NULL_ARGUMENT or TIDINGS_ERR_INVALID_UTF8; a value that cannot be used is reported
//       by the function that takes the options.
//     - ..._free: one thread at a time. NULL is allowed.
//     - ..._name of a number: any thread. It returns static text in lower case, never NULL, and "unknown" for a number that
//       is not in the enumeration.
//     - Functions that read an event, error, state, response, list, rows or changes: any thread. What they return belongs to that object.
//
// Threads
//     Each client has a thread for its I/O, and a second one, started with the first callback, that runs callbacks: one at a
//     time, in order. So a callback may block without stalling the connection, but it delays the other callbacks of its
//     client. It may call every function of this header, including those that close or free its client.
//     "Threads: any" means that a function may be called from every thread and every callback, even while other threads use
//     the same object. "Threads: one at a time" means from every thread and callback, but not while another thread uses the
//     same object. Freeing an object is always its last use, by any thread. No result depends on the calling thread: there is
//     no last error per thread, nor anything like it.
//     The library starts these threads, and no others; tidings_thread_count() counts them:
//         tidings            one for each client and each event source: its I/O
//         tidings-callbacks  one for each client with a callback (Linux shows the first 15 characters of the name)
//         tidings-resolve    one for each DNS lookup, while it lasts
//         tidings-token      one for each token request, while the token callback runs
//         tidings-connect    one for each connection of an event source with a connect callback, while that runs
//         tidings-log        one while a log callback is set
//     They block all signals but SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP and SIGABRT. So signals go to your own threads, and
//     sigwait() works. A process started by a callback inherits that signal mask: reset it, for example with
//     posix_spawnattr_setsigmask().
//
// Ownership
//     What a function named ..._new, _clone, _next, _rows or _send returns, or puts into an argument `type **`, is yours: free it
//     with the function of that type whose name ends in _free. Pointers to const are borrowed: they are valid as long as the
//     object that they came from, or, for the arguments of a callback, until the callback returns. Free a `char *` that is not
//     const with tidings_string_free(). What you pass in is read during the call and not kept, except `user_data`.
//     Each callback comes with a pointer `user_data` and a function `drop`, either of which may be NULL. The library calls
//     drop(user_data) exactly once, when the callback can no longer be called: also when the function that took it fails,
//     before that returns, and also when the callback is NULL; see tidings_client_subscribe() for what the queue does with it. `drop` may run on any thread, never at the same time as the
//     callback, and may call anything. In a forked child it is not called.
//
// Errors
//     A function that can fail returns a tidings_status. Its last argument `error` may be NULL; otherwise `*error` is set to
//     a tidings_error, which is yours, or to NULL on success. It need not be initialised. After a failure, the other results
//     are NULL or 0. Functions without a status return NULL, 0, -1 or false for NULL.
//     NULL where it is not allowed, text that is not UTF-8, a number that is not in an enumeration and a closed client are
//     reported by a status. A pointer to freed or foreign memory cannot be detected.
//     What happens to the connection later is not an error of a call: the client reconnects and reports it, see
//     tidings_action and tidings_state. It never gives up on a failing network, and never retries what the server has refused
//     for good. No error, log line or text of a state contains a token, a password or the query of a URL.
//
// Text
//     All text is UTF-8 and ends with a NUL. Where it may itself contain a NUL, its length is available too.
//
// Panics and exceptions
//     If a bug of the library makes Rust panic, the call returns TIDINGS_ERR_PANIC with the panic's message, which is also
//     printed to stderr, and the process continues. In the other direction nothing may pass: if a C++ exception or a
//     longjmp() leaves a callback, the behaviour is undefined or the process ends. With the classes of tidings.hpp, an
//     exception that leaves a callback goes to the handler set by tidings::on_exception(); by default that ends the process.
//
// Fork
//     Threads do not survive fork(). In the child, every call with an object of the parent returns TIDINGS_ERR_FORKED, and
//     freeing one is harmless: it leaves the memory and the parent's connection alone. A new client works in the child.
//     Between fork() and exec() only async-signal-safe functions may be called, so none of this header.
//
// Valgrind
//     With --leak-check=full, valgrind reports 48 bytes as "possibly lost", once per process: Rust's own handle of a thread,
//     kept in thread-local storage, to which valgrind sees only an interior pointer. tests/c/valgrind.supp, installed as
//     share/tidings/valgrind.supp, suppresses that: valgrind --suppressions=PREFIX/share/tidings/valgrind.supp.
//
// Versions
//     Functions, values of enumerations and fields at the end of tidings_stats may be added; nothing is removed or changes
//     its meaning while the soname is libtidings.so.0. Handle values that you do not know.
//
// This file is generated from bindings/c/src; change it there.

#ifndef TIDINGS_H
#define TIDINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

/// The version of this header; that of the library which runs is tidings_version().
#define TIDINGS_VERSION "0.1.0"
#define TIDINGS_VERSION_MAJOR 0
#define TIDINGS_VERSION_MINOR 1
#define TIDINGS_VERSION_PATCH 0
/// The same as one number that grows with each version: 10203 for 1.2.3.
#define TIDINGS_VERSION_NUMBER 100

// ---- Types ------------------------------------------------------------------------------------------------

/// The result of a call. The numbers never change.
typedef enum tidings_status {
    /// The call succeeded.
    TIDINGS_OK = 0,
    /// An argument that must not be NULL is NULL.
    TIDINGS_ERR_NULL_ARGUMENT = 1,
    /// A text is not UTF-8.
    TIDINGS_ERR_INVALID_UTF8 = 2,
    /// An option, header, token or other argument has an invalid value.
    TIDINGS_ERR_INVALID_ARGUMENT = 3,
    /// The URL of the server is invalid.
    TIDINGS_ERR_INVALID_URL = 4,
    /// The topic is invalid: it is empty, too long, or has control characters.
    TIDINGS_ERR_INVALID_TOPIC = 5,
    /// The backend does not support this.
    TIDINGS_ERR_UNSUPPORTED = 6,
    /// The server refused the request: see tidings_error_http_status().
    TIDINGS_ERR_REFUSED = 7,
    /// The token callback failed.
    TIDINGS_ERR_TOKEN_PROVIDER = 8,
    /// The server could not be reached, the connection broke, or the system ran out of threads or descriptors.
    TIDINGS_ERR_NETWORK = 9,
    /// The timeout expired.
    TIDINGS_ERR_TIMEOUT = 10,
    /// The answer is not in the expected protocol.
    TIDINGS_ERR_PROTOCOL = 11,
    /// The client or event source is closed.
    TIDINGS_ERR_CLOSED = 12,
    /// The object belongs to the parent process: this process was forked from it.
    TIDINGS_ERR_FORKED = 13,
    /// The library has a bug.
    TIDINGS_ERR_PANIC = 14,
    /// Any other error; the message says which.
    TIDINGS_ERR_OTHER = 15,
} tidings_status;

/// The state of a client's connection. A client with many topics has several streams; this is the worst state among
/// them.
typedef enum tidings_state {
    /// A state that this version of the header does not know; also for NULL and in a forked child.
    TIDINGS_STATE_UNKNOWN = 0,
    /// There are no subscriptions, so there is no connection.
    TIDINGS_STATE_IDLE = 1,
    /// A stream is being opened, or its topics are being submitted.
    TIDINGS_STATE_CONNECTING = 2,
    /// The stream is open, and the topics that it was opened for are acknowledged. A topic that was added since may
    /// still be pending or be refused: that is the state of its subscription, see tidings_client_subscription_state().
    TIDINGS_STATE_LIVE = 3,
    /// The stream is open, but the server treats the client as a guest although it has a token.
    TIDINGS_STATE_UNAUTHENTICATED = 4,
    /// The connection failed; the client will try again.
    TIDINGS_STATE_WAITING = 5,
    /// There has been no connection for more than two minutes. The client keeps trying.
    TIDINGS_STATE_SUSPENDED = 6,
    /// Final: the client was closed, or the server gave an answer that trying again will not change, see
    /// tidings_state_info_error(). In the second case a new subscription connects again.
    TIDINGS_STATE_CLOSED = 7,
} tidings_state;

/// Why a connection ended or could not be established.
typedef enum tidings_reason {
    /// There is no reason to report.
    TIDINGS_REASON_NONE = 0,
    /// The server ended the stream in an orderly way: an idle limit, a lifetime limit, or a shutdown.
    TIDINGS_REASON_ENDED_BY_SERVER = 1,
    /// The network failed, or the answer was not an event stream.
    TIDINGS_REASON_LOST = 2,
    /// Nothing was received for too long.
    TIDINGS_REASON_SILENCE = 3,
    /// The server refused the connection or the topics.
    TIDINGS_REASON_REFUSED = 4,
    /// The server no longer knows the stream, or attributes it to another client.
    TIDINGS_REASON_STREAM_REJECTED = 5,
    /// The token was replaced by that of another user.
    TIDINGS_REASON_IDENTITY_CHANGED = 6,
    /// The network changed or the machine slept, so the connection may be dead.
    TIDINGS_REASON_SUSPECTED = 7,
    /// The token has expired.
    TIDINGS_REASON_TOKEN_EXPIRED = 8,
    /// The server no longer accepts the token.
    TIDINGS_REASON_TOKEN_REVOKED = 9,
    /// Any other reason; the text says which.
    TIDINGS_REASON_OTHER = 10,
} tidings_reason;

/// The state of a subscription.
typedef enum tidings_subscription_state {
    /// A state that this version of the header does not know; also for NULL and in a forked child.
    TIDINGS_SUBSCRIPTION_STATE_UNKNOWN = 0,
    /// The server has not acknowledged the topic yet.
    TIDINGS_SUBSCRIPTION_STATE_PENDING = 1,
    /// The server has acknowledged the topic, and the stream is open.
    TIDINGS_SUBSCRIPTION_STATE_LIVE = 2,
    /// The stream was lost or is being replaced; the client is reconnecting.
    TIDINGS_SUBSCRIPTION_STATE_INTERRUPTED = 3,
    /// The subscription has ended; also for an expired or unknown id.
    TIDINGS_SUBSCRIPTION_STATE_ENDED = 4,
    /// The server has acknowledged the topic, but no event can come: it refuses a list with the same options. Only for a
    /// subscription that was not waited for; see tidings_client_options_set_verify_topics().
    TIDINGS_SUBSCRIPTION_STATE_DENIED = 5,
} tidings_subscription_state;

/// What an event reports. From TIDINGS_ACTION_GAP on, it is a notice of the client: without notices, silence and loss
/// would look alike.
typedef enum tidings_action {
    /// An action that this version of the header does not know; also for NULL.
    TIDINGS_ACTION_UNKNOWN = 0,
    /// A record was created.
    TIDINGS_ACTION_CREATE = 1,
    /// A record was updated, or began to match the filter.
    TIDINGS_ACTION_UPDATE = 2,
    /// A record was deleted.
    TIDINGS_ACTION_DELETE = 3,
    /// A stream was (re)established and all topics are acknowledged on it. Only for the topic PB_CONNECT.
    TIDINGS_ACTION_CONNECT = 4,
    /// A message without one of the three record actions, such as one sent by a server hook.
    TIDINGS_ACTION_CUSTOM = 5,
    /// Changes may have been missed. The subscription is live again: list the records now to be up to date.
    TIDINGS_ACTION_GAP = 6,
    /// Events were dropped because the listener did not keep up: see tidings_event_lagged().
    TIDINGS_ACTION_LAGGED = 7,
    /// The server refused the subscription or revoked it: see tidings_event_error(). This is its last event for a
    /// callback. A call that waits for the server's answer returns the error instead, without this event.
    TIDINGS_ACTION_REFUSED = 8,
    /// Queue only: the last event of a subscription, with the error that ended it, if any.
    TIDINGS_ACTION_ENDED = 9,
    /// Queue only, if enabled: the state of the connection changed, see tidings_event_state().
    TIDINGS_ACTION_STATE = 10,
    /// Queue only, if enabled: an open stream is gone, see tidings_event_topics().
    TIDINGS_ACTION_DISCONNECTED = 11,
    /// Queue only: a call that did not wait has ended, see tidings_event_call(). Then tidings_event_error() is NULL, or
    /// says why it failed.
    TIDINGS_ACTION_COMPLETED = 12,
    /// Queue only: the server has acknowledged the topic. For tidings_client_subscribe_async(), and for a subscription
    /// with tidings_subscribe_options_set_wait(false); the first event of its subscription.
    TIDINGS_ACTION_ACKNOWLEDGED = 13,
    /// Queue only: a view has changes to take, or has ended; tidings_event_subscription() is its id. See
    /// tidings_client_watch().
    TIDINGS_ACTION_CHANGED = 14,
} tidings_action;

/// Why changes may have been missed.
typedef enum tidings_gap_reason {
    /// The event is not a gap.
    TIDINGS_GAP_REASON_NONE = 0,
    /// The connection was down.
    TIDINGS_GAP_REASON_DISCONNECTED = 1,
    /// The client signed in as another user, or became a guest.
    TIDINGS_GAP_REASON_IDENTITY_CHANGED = 2,
    /// A message exceeded the size limit and was dropped.
    TIDINGS_GAP_REASON_TOO_LARGE = 3,
    /// A reason that this version of the header does not know.
    TIDINGS_GAP_REASON_OTHER = 4,
} tidings_gap_reason;

/// Whether the rows of a view are what the server has.
typedef enum tidings_freshness {
    /// Something that this version of the header does not know; also for NULL and in a forked child.
    TIDINGS_FRESHNESS_UNKNOWN = 0,
    /// The rows are the server's list, with all changes since then.
    TIDINGS_FRESHNESS_PROVEN = 1,
    /// In doubt: the link to the server is down, or not up yet. The rows stay what they were.
    TIDINGS_FRESHNESS_DISCONNECTED = 2,
    /// In doubt: changes may have been missed, and the list is being compared with the server's.
    TIDINGS_FRESHNESS_COMPARING = 3,
    /// In doubt: the client is somebody else now, or the server does not take its token. The rows are those of the identity
    /// before.
    TIDINGS_FRESHNESS_IDENTITY = 4,
    /// In doubt: the server did not answer a list. It is asked again, with back-off.
    TIDINGS_FRESHNESS_LIST_FAILED = 5,
    /// The view has ended: see tidings_view_error().
    TIDINGS_FRESHNESS_ENDED = 6,
} tidings_freshness;

/// What a delta does to the list.
typedef enum tidings_delta_kind {
    /// Something that this version of the header does not know; also for NULL and an index that is out of range.
    TIDINGS_DELTA_KIND_UNKNOWN = 0,
    /// A row came: put it at tidings_changes_to().
    TIDINGS_DELTA_KIND_INSERT = 1,
    /// A row changed: take it from tidings_changes_from(), then put it at tidings_changes_to(), counted without it. They
    /// are the same where it did not move.
    TIDINGS_DELTA_KIND_UPDATE = 2,
    /// A row left: take it from tidings_changes_from().
    TIDINGS_DELTA_KIND_REMOVE = 3,
    /// The list is another one, tidings_changes_rows(): the first, or one that differs in so much that deltas would be
    /// more. It is the only delta of its batch.
    TIDINGS_DELTA_KIND_RESET = 4,
} tidings_delta_kind;

/// Why a row left the list.
typedef enum tidings_remove_reason {
    /// The delta removes nothing.
    TIDINGS_REMOVE_REASON_NONE = 0,
    /// It was deleted.
    TIDINGS_REMOVE_REASON_DELETED = 1,
    /// It does not match the filter any more.
    TIDINGS_REMOVE_REASON_LEFT_FILTER = 2,
    /// Others came before it, and it is beyond the limit.
    TIDINGS_REMOVE_REASON_DISPLACED = 3,
    /// The server does not list it any more, as was found by comparing: it was deleted, has left the filter, or a rule
    /// hides it now.
    TIDINGS_REMOVE_REASON_GONE = 4,
    /// A reason that this version of the header does not know.
    TIDINGS_REMOVE_REASON_OTHER = 5,
} tidings_remove_reason;

/// The kind of an event of an event source.
typedef enum tidings_source_kind {
    /// Something that this library's header did not know, or NULL.
    TIDINGS_SOURCE_KIND_UNKNOWN = 0,
    /// A stream is open. After the first one, each means that the source has reconnected.
    TIDINGS_SOURCE_KIND_OPEN = 1,
    /// A message.
    TIDINGS_SOURCE_KIND_MESSAGE = 2,
    /// A comment; only if wanted.
    TIDINGS_SOURCE_KIND_COMMENT = 3,
    /// A message was larger than the limit and was dropped. Its id counts.
    TIDINGS_SOURCE_KIND_TOO_LARGE = 4,
    /// There is no stream: it ended, broke, fell silent, or could not be opened. The source tries again.
    TIDINGS_SOURCE_KIND_DISCONNECTED = 5,
    /// The last one: the source will not try again. See tidings_source_event_error(); without an error the stream ended in
    /// an orderly way, and the source takes one answer.
    TIDINGS_SOURCE_KIND_CLOSED = 6,
    /// The stream ended within this message, and the source ends with it. No blank line came after it, so by the standard
    /// it is dropped, and it may be cut anywhere. Some servers leave out the blank line after their last message.
    TIDINGS_SOURCE_KIND_UNFINISHED = 7,
} tidings_source_kind;

/// The severity of a log line.
typedef enum tidings_log_level {
    /// Nothing is logged.
    TIDINGS_LOG_LEVEL_OFF = 0,
    /// Errors that need attention.
    TIDINGS_LOG_LEVEL_ERROR = 1,
    /// Conditions that may need attention.
    TIDINGS_LOG_LEVEL_WARN = 2,
    /// Changes of the state.
    TIDINGS_LOG_LEVEL_INFO = 3,
    /// Streams, submits, token requests.
    TIDINGS_LOG_LEVEL_DEBUG = 4,
    /// Everything.
    TIDINGS_LOG_LEVEL_TRACE = 5,
} tidings_log_level;

/// What happens when a listener does not keep up and its queue is full.
typedef enum tidings_overflow {
    /// The oldest event is dropped. TIDINGS_ACTION_LAGGED comes before the remaining events.
    TIDINGS_OVERFLOW_DROP_OLDEST = 0,
    /// The new event is dropped. TIDINGS_ACTION_LAGGED comes after the queued events.
    TIDINGS_OVERFLOW_DROP_NEWEST = 1,
    /// A newer event of the same record replaces the queued one; that does not count as a loss. When more records are
    /// queued than the queue holds, the oldest is dropped.
    TIDINGS_OVERFLOW_CONFLATE = 2,
} tidings_overflow;

/// A reusable container for events taken from the queue.
typedef struct tidings_batch tidings_batch;

/// What has happened to a view since the batch before, in one step. It never changes.
typedef struct tidings_changes tidings_changes;

/// A client of one server: one connection that all its subscriptions share.
typedef struct tidings_client tidings_client;

/// Options for creating clients. Unset options keep their defaults.
typedef struct tidings_client_options tidings_client_options;

/// Why a call failed, a subscription ended or a connection is down. Immutable.
typedef struct tidings_error tidings_error;

/// One event of a subscription: a change of a record, a custom message, or a notice. Immutable.
typedef struct tidings_event tidings_event;

/// Options for requests. Unset options keep their defaults.
typedef struct tidings_request_options tidings_request_options;

/// The response to a request. Immutable.
typedef struct tidings_response tidings_response;

/// The rows of a view at one moment. They never change.
typedef struct tidings_rows tidings_rows;

/// A client for any stream of server-sent events: the EventSource of the WHATWG HTML standard, for programs.
typedef struct tidings_source tidings_source;

/// One event of an event source. It never changes.
typedef struct tidings_source_event tidings_source_event;

/// Options for creating event sources. Unset options keep their defaults.
typedef struct tidings_source_options tidings_source_options;

/// What one connection of an event source is made with. Only the callback that is given one may use it, until it returns.
/// Texts are copied.
typedef struct tidings_source_request tidings_source_request;

/// A state with its details. Immutable.
typedef struct tidings_state_info tidings_state_info;

/// A list of texts. Immutable.
typedef struct tidings_strings tidings_strings;

/// Options for subscribing. Unset options keep their defaults.
typedef struct tidings_subscribe_options tidings_subscribe_options;

/// A request for a token.
typedef struct tidings_token_request tidings_token_request;

/// A live view: a list of records that is kept up to date.
typedef struct tidings_view tidings_view;

/// Options for a live view. Unset options keep their defaults.
typedef struct tidings_watch_options tidings_watch_options;

/// Called when a token is needed. The request is yours: answer it with tidings_token_request_answer() or
/// tidings_token_request_fail().
typedef void (*tidings_token_callback)(tidings_token_request *request, void *user_data);

/// Called exactly once, when a callback can no longer be called, with the user data that belongs to it.
typedef void (*tidings_drop_callback)(void *user_data);

/// Called with each change of the state. The state belongs to the call.
typedef void (*tidings_state_callback)(const tidings_state_info *state, void *user_data);

/// Called when an open stream is gone, with the topics that are still subscribed. If there are none, the client closed
/// the stream itself; otherwise it is about to reconnect. The list belongs to the call.
typedef void (*tidings_disconnect_callback)(const tidings_strings *topics, void *user_data);

/// Called with each event of a subscription. The event belongs to the call: to keep it, see tidings_event_clone().
typedef void (*tidings_event_callback)(const tidings_event *event, void *user_data);

/// Called with the URL that the user has to visit. The text belongs to the call.
typedef void (*tidings_open_callback)(const char *url, void *user_data);

/// Called with each batch of changes of a view. It belongs to the call.
typedef void (*tidings_changes_callback)(const tidings_changes *changes, void *user_data);

/// Called with the HTTP status of an answer that is not an event stream: 200 if its content type is not accepted. True to
/// try again, false to end with the error.
typedef bool (*tidings_status_callback)(int status, void *user_data);

/// Called before each connection of an event source, to set what it is made with.
typedef void (*tidings_connect_callback)(tidings_source_request *request, void *user_data);

/// Called with each line. The text belongs to the call.
typedef void (*tidings_log_callback)(tidings_log_level level, const char *line, void *user_data);

/// Counters of a client, since it was created unless noted. Later versions may add counters at the end.
typedef struct tidings_stats {
    /// Attempts to open a stream.
    uint64_t connects;
    /// Streams on which the topics were acknowledged.
    uint64_t connected;
    /// Streams that the server ended in an orderly way (TIDINGS_REASON_ENDED_BY_SERVER).
    uint64_t ended_by_server;
    /// Streams that were lost, or could not be opened, because of the network (TIDINGS_REASON_LOST).
    uint64_t ended_lost;
    /// Streams that were given up because nothing was received for too long (TIDINGS_REASON_SILENCE).
    uint64_t ended_silence;
    /// Streams that the server refused (TIDINGS_REASON_REFUSED).
    uint64_t ended_refused;
    /// Streams that the server no longer knew (TIDINGS_REASON_STREAM_REJECTED).
    uint64_t ended_rejected;
    /// Streams that were closed because another user signed in (TIDINGS_REASON_IDENTITY_CHANGED).
    uint64_t ended_identity_changed;
    /// Streams that were replaced because the network changed or the machine slept (TIDINGS_REASON_SUSPECTED).
    uint64_t ended_suspected;
    /// Requests that sent the set of topics to the server.
    uint64_t submits;
    /// Those of them that the server did not accept.
    uint64_t submits_failed;
    /// Duration of the last accepted one, in microseconds.
    uint64_t submit_latency_us;
    /// Requests that asked the server whether it still accepts the client's identity.
    uint64_t probes;
    /// Messages received, including the handshake of each stream.
    uint64_t messages;
    /// Bytes received on streams.
    uint64_t bytes;
    /// Events put into listeners' queues: a message with three listeners counts three times.
    uint64_t delivered;
    /// Events dropped from the queues of listeners that did not keep up.
    uint64_t lost;
    /// The largest number of events that were ever queued for one listener.
    uint64_t queue_high_water;
    /// Messages without a listener, such as one for a topic that was just unsubscribed.
    uint64_t unmatched;
    /// Messages dropped because they exceeded the size limit.
    uint64_t too_large;
    /// Current number of topics.
    uint64_t topics;
    /// Current number of listeners.
    uint64_t listeners;
    /// Current number of streams, open or being opened.
    uint64_t streams;
    /// Handovers: streams that were replaced by another one without an interruption (make-before-break).
    uint64_t hand_overs;
    /// Panics that left a callback. In C always 0, unless the library has a bug.
    uint64_t panics;
} tidings_stats;

/// One event in the buffer of tidings_client_next_packed(). Offsets are in bytes from the beginning of the buffer; a text
/// that is not there has offset 0 and length 0. A NUL that is not counted follows each text, save the record.
typedef struct tidings_packed_event {
    /// tidings_event_subscription()
    uint64_t subscription;
    /// tidings_event_call()
    uint64_t call;
    /// tidings_event_user_data()
    void *user_data;
    /// Where it is in the batch: for what is not here, see tidings_batch_event().
    uint32_t index;
    /// tidings_event_action()
    tidings_action action;
    /// 1: the client generated it, see tidings_event_is_notice(). Other bits may be added.
    uint32_t flags;
    /// tidings_event_topic()
    uint32_t topic;
    /// Its length.
    uint32_t topic_len;
    /// tidings_event_record_id()
    uint32_t record_id;
    /// Its length.
    uint32_t record_id_len;
    /// tidings_event_record(), mostly a part of the data
    uint32_t record;
    /// Its length.
    uint32_t record_len;
    /// tidings_event_data()
    uint32_t data;
    /// Its length.
    uint32_t data_len;
    /// 0
    uint32_t reserved;
} tidings_packed_event;

// ---- Errors -----------------------------------------------------------------------------------------------

/// The name of a status as it is spelled in C, such as "TIDINGS_ERR_CLOSED".
const char *tidings_status_name(tidings_status status);

/// The kind of error; TIDINGS_OK for NULL.
tidings_status tidings_error_status(const tidings_error *error);

/// With TIDINGS_ERR_REFUSED, the HTTP status of the server's answer, such as 403; 200 with TIDINGS_ERR_PROTOCOL if an event
/// source was not answered with an event stream; otherwise 0.
uint16_t tidings_error_http_status(const tidings_error *error);

/// One line for people that says what went wrong, with the server's own message if it sent one.
const char *tidings_error_message(const tidings_error *error);

/// The body of the server's answer as received, up to 64 KiB; NULL if tidings_error_http_status() is 0. `*len` is set
/// to its length, or to 0. A NUL that is not counted follows the body, which may contain any bytes.
const char *tidings_error_body(const tidings_error *error, size_t *len);

/// A header of the server's answer; NULL if there is none or it is not text. Names are not case-sensitive.
const char *tidings_error_header(const tidings_error *error, const char *name);

/// The name, in lower case, of the header at `index` of the server's answer, for tidings_error_header(); NULL if `index` is
/// out of range.
const char *tidings_error_header_name(const tidings_error *error, size_t index);

/// How many messages an event source had delivered before the one answer that it takes was cut; -1 for any other error.
int64_t tidings_error_messages(const tidings_error *error);

/// How long the server asked to wait before the next attempt (Retry-After), in milliseconds; -1 if it did not.
int64_t tidings_error_retry_after_ms(const tidings_error *error);

/// Frees an error.
void tidings_error_free(tidings_error *error);

// ---- Strings ----------------------------------------------------------------------------------------------

/// Frees a string that you own, a `char *`.
///
/// Threads: any.
void tidings_string_free(char *string);

/// The number of texts.
size_t tidings_strings_len(const tidings_strings *strings);

/// The text at `index`; NULL if `index` is out of range.
const char *tidings_strings_get(const tidings_strings *strings, size_t index);

/// Frees a list.
void tidings_strings_free(tidings_strings *strings);

// ---- Options of a client ----------------------------------------------------------------------------------

/// Creates an options object with all defaults, for any number of clients. Never NULL. A value that cannot be used is
/// reported by tidings_client_new().
///
/// Threads: any. The options are yours: free them with tidings_client_options_free().
tidings_client_options *tidings_client_options_new(void);

/// Frees options. Clients created with them are not affected.
void tidings_client_options_free(tidings_client_options *options);

/// The initial token, with or without "Bearer ".
tidings_status tidings_client_options_set_token(tidings_client_options *options, const char *token);

/// The initial token, and the record that it belongs to as JSON text, or NULL: tidings_client_auth_record() returns it.
/// Replaces tidings_client_options_set_token(). Also returns TIDINGS_ERR_INVALID_ARGUMENT when the record is not JSON.
tidings_status tidings_client_options_set_token_record(
    tidings_client_options *options, const char *token, const char *record);

/// Sets the callback for token requests, and replaces the previous one; NULL removes it. A token is requested before
/// the first stream is opened, a minute before a token expires, and when the server no longer accepts it.
///
/// The callback gets a request, which it answers with one of the tidings_token_request_... functions, immediately or
/// later and from any thread. After a failure it is called again, with growing delays. It runs on a thread of its own
/// for each request, and may block and call anything. The options own `user_data` until the callback is replaced, and
/// so do the clients created with them; `drop` is called with the last of these.
tidings_status tidings_client_options_on_token(
    tidings_client_options *options, tidings_token_callback callback, void *user_data,
    tidings_drop_callback drop);

/// Adds a header to every request. Its value is treated as a secret: it is never logged, and never sent to another
/// origin.
tidings_status tidings_client_options_add_header(
    tidings_client_options *options, const char *name, const char *header_value);

/// The User-Agent header. Default: "tidings/VERSION".
tidings_status tidings_client_options_set_user_agent(tidings_client_options *options, const char *name);

/// The client's name in log lines. Default: host and port of its URL.
tidings_status tidings_client_options_set_name(tidings_client_options *options, const char *name);

/// Selects RustBaaS as the backend, with the realm and the app of the collections. It supports neither filters nor
/// `expand`: tidings_client_subscribe() reports them as TIDINGS_ERR_UNSUPPORTED.
tidings_status tidings_client_options_set_rustbaas(
    tidings_client_options *options, const char *realm, const char *app);

/// Selects a newer RustBaaS as the backend, whose apps are below /api/workspaces/, with the workspace and the app of the
/// collections. A `filter` of tidings_client_subscribe() goes to the server; `expand` is TIDINGS_ERR_UNSUPPORTED. Of this
/// and tidings_client_options_set_rustbaas() the last one called counts.
tidings_status tidings_client_options_set_rustbaas_workspace(
    tidings_client_options *options, const char *workspace, const char *app);

/// RustBaaS only: the interval of the server's heartbeats. Default: 15 seconds. A stream that misses three is
/// considered dead and replaced.
tidings_status tidings_client_options_set_heartbeat(tidings_client_options *options, uint64_t interval_ms);

/// The silence after which a stream is considered dead and replaced. Default: three heartbeats of a RustBaaS server; for
/// PocketBase, which sends nothing while nothing changes, a little more than the 5 minutes after which it ends an idle
/// stream itself. More than 0.
///
/// A shorter one notices a dead connection sooner, at the price of a reconnection, and of a TIDINGS_ACTION_GAP, whenever
/// nothing changes for that long.
tidings_status tidings_client_options_set_silence_timeout(
    tidings_client_options *options, uint64_t timeout_ms);

/// RustBaaS only: sends the token of a stream as "?access_token=" instead of in a header. The token then appears in
/// access logs; use it only where a proxy strips headers.
tidings_status tidings_client_options_set_token_in_query(tidings_client_options *options);

/// Certificates to trust in addition to those of the system, in PEM: `len` bytes at `pem`.
tidings_status tidings_client_options_set_ca_pem(
    tidings_client_options *options, const void *pem, size_t len);

/// The client certificate for servers that request one: its chain and its private key, in PEM.
tidings_status tidings_client_options_set_client_certificate(
    tidings_client_options *options, const void *chain_pem, size_t chain_len, const void *key_pem,
    size_t key_len);

/// The proxy for all requests, as "http://user:password@host:port", instead of the environment variables HTTP_PROXY,
/// HTTPS_PROXY and NO_PROXY. NULL disables proxies.
tidings_status tidings_client_options_set_proxy(tidings_client_options *options, const char *url);

/// The timeout for connecting: DNS, TCP, proxy and TLS together. Default: 10 seconds.
tidings_status tidings_client_options_set_connect_timeout(
    tidings_client_options *options, uint64_t timeout_ms);

/// How long a subscription that is waited for waits for the server's answer. Default: 30 seconds. It fails sooner with what
/// is known: where the server cannot be reached, with the first try to connect that fails, whether or not the client was
/// connected before; where it answers 429 or 5xx to the topic or to the connection, with the second such answer in a
/// row.
tidings_status tidings_client_options_set_subscribe_timeout(
    tidings_client_options *options, uint64_t timeout_ms);

/// Whether the server is asked, with one small list request beside the first submit of a topic, if the topic of a collection
/// can deliver anything. Default: true. PocketBase acknowledges every topic, also that of a collection that does not exist,
/// that only superusers may list, or with a filter that it cannot evaluate, and then sends nothing.
/// tidings_client_subscribe() then fails with TIDINGS_ERR_REFUSED and the status of the list (404, 403, 400); a subscription
/// that is not waited for gets the state TIDINGS_SUBSCRIPTION_DENIED. An answer that may pass (429, 5xx, a timeout) fails
/// nothing. Not asked for tidings_client_subscribe_topic() and for topics with headers.
tidings_status tidings_client_options_set_verify_topics(tidings_client_options *options, bool wanted);

/// How long events may gather before the socket is read again, in microseconds. Default: 250; at most 10,000, and 0 always
/// reads at once. They gather only while more than about 4,000 come in a second: one wake-up then serves many.
tidings_status tidings_client_options_set_gather(tidings_client_options *options, uint64_t longest_us);

/// The shortest and the longest delay before a lost connection is tried again. Default: 200 milliseconds and 20 seconds.
/// Each delay is drawn at random between the shortest and a ceiling that doubles with every failure, and after some seconds
/// is a third of the outage so far. A stream that was live for a second resets the ceiling.
///
/// Unless these are set, a stream that was live is replaced sooner, within 50 to 250 milliseconds; for ten times, and once
/// more for each three seconds that a stream is live. Once set, the shortest delay holds for these attempts too, but not
/// for the new stream after another user has signed in. A server's `retry:` raises the shortest delay, up to 5 minutes,
/// and its Retry-After a single one, up to an hour.
tidings_status tidings_client_options_set_backoff(
    tidings_client_options *options, uint64_t min_ms, uint64_t max_ms);

/// The capacity of each listener's queue, in events, and what happens when it is full; a subscription may have its own.
/// Default: 8,192 and TIDINGS_OVERFLOW_DROP_OLDEST. A queue also never holds more than 64 MiB. Also returns
/// TIDINGS_ERR_INVALID_ARGUMENT for an unknown policy; with a capacity of 0, tidings_client_new() does.
tidings_status tidings_client_options_set_queue(
    tidings_client_options *options, size_t events, tidings_overflow overflow);

/// The largest accepted message, in bytes. Default: 16 MiB; at least 1,024 bytes. A larger one is dropped and reported
/// as TIDINGS_ACTION_GAP.
tidings_status tidings_client_options_set_message_limit(tidings_client_options *options, size_t bytes);

/// How often the client asks the server whether it still accepts the client's identity. Default: 5 minutes. PocketBase
/// drops an identity without a message, for example when the password changes.
tidings_status tidings_client_options_set_identity_check(
    tidings_client_options *options, uint64_t interval_ms);

/// Whether changes of the connection also go into the queue, as TIDINGS_ACTION_STATE and TIDINGS_ACTION_DISCONNECTED,
/// for hosts that prefer the queue to callbacks. Default: no. Up to 64 of them are queued; then the oldest are dropped.
tidings_status tidings_client_options_set_notices(tidings_client_options *options, bool wanted);

// ---- Questions for a token --------------------------------------------------------------------------------

/// Answers a request with a token, or with NULL for a guest.
///
/// Threads: one at a time. The request is freed in any case. Returns TIDINGS_ERR_NULL_ARGUMENT when it is NULL, and
/// TIDINGS_ERR_INVALID_UTF8 when the token is not UTF-8, which counts as a failure. A late answer does no harm.
tidings_status tidings_token_request_answer(tidings_token_request *request, const char *token);

/// Answers a request with a failure, and its reason as text for people. A call that waits for the first token returns
/// it as TIDINGS_ERR_TOKEN_PROVIDER.
///
/// Threads: one at a time. The request is freed in any case, as by tidings_token_request_answer().
tidings_status tidings_token_request_fail(tidings_token_request *request, const char *message);

/// Frees a request without an answer, which counts as a failure.
void tidings_token_request_free(tidings_token_request *request);

// ---- Clients ----------------------------------------------------------------------------------------------

/// Creates a client. It connects with the first subscription. `url` is the URL of the server without "/api", such as
/// "http://127.0.0.1:8090". `options` may be NULL.
///
/// The query and the fragment of the URL are ignored. "user:password@" before the host is sent as Basic authorization
/// with requests that have neither a token nor a header Authorization.
///
/// Threads: any. `*client` is yours: free it with tidings_client_free(). `options` are only read and stay yours.
/// Returns TIDINGS_ERR_INVALID_URL, TIDINGS_ERR_INVALID_ARGUMENT for an option with an invalid value,
/// TIDINGS_ERR_UNSUPPORTED for an option that the backend does not support, and TIDINGS_ERR_NETWORK when a thread
/// cannot be started.
tidings_status tidings_client_new(
    const char *url, const tidings_client_options *options, tidings_client **client, tidings_error **error);

/// Closes the client: all subscriptions end, and calls that wait in other threads return TIDINGS_ERR_CLOSED. It returns
/// within a second, when the socket and the threads of the client are gone. The exception is the callback thread while
/// a callback is running: it ends with that callback, which is not waited for. The client still has to be freed.
/// Closing again does nothing.
///
/// Threads: any, callbacks of this client included. Returns TIDINGS_ERR_FORKED in a forked child, and does nothing
/// there.
tidings_status tidings_client_close(tidings_client *client, tidings_error **error);

/// Closes the client unless it is closed, and frees it. No callback starts after that; one that is running continues,
/// and the `drop` of its user data is called when it returns.
///
/// Threads: one at a time, callbacks of this client included: no other thread may be in a call of this client, or start
/// one later. If one may be, call tidings_client_close() first and wait for that thread. In a forked child it leaves
/// the parent's client alone.
void tidings_client_free(tidings_client *client);

/// Tells the client that the network has changed, for hosts that the system informs: waiting reconnects start at once,
/// and live connections are checked.
///
/// Threads: any. Returns TIDINGS_ERR_CLOSED.
tidings_status tidings_client_network_changed(tidings_client *client, tidings_error **error);

/// The id that the server gave the stream, or NULL while there is no stream. RustBaaS has no such ids.
///
/// Threads: any. `*id` is yours: free it with tidings_string_free(). Returns TIDINGS_ERR_FORKED in a forked child.
tidings_status tidings_client_id(tidings_client *client, char **id, tidings_error **error);

/// The subscribed topics as they are sent to the server, sorted.
///
/// Threads: any. `*topics` is yours: free it with tidings_strings_free(). Returns TIDINGS_ERR_FORKED in a forked child.
tidings_status tidings_client_active_subscriptions(
    tidings_client *client, tidings_strings **topics, tidings_error **error);

// ---- The state of the connection --------------------------------------------------------------------------

/// The current state.
///
/// Threads: any.
tidings_state tidings_client_state(tidings_client *client);

/// The current state with its details.
///
/// Threads: any. `*state` is yours: free it with tidings_state_info_free(). Returns TIDINGS_ERR_FORKED in a forked
/// child.
tidings_status tidings_client_state_info(
    tidings_client *client, tidings_state_info **state, tidings_error **error);

/// Sets the callback for changes of the state, and replaces the previous one; NULL removes it. It runs on the callback
/// thread, so a callback that blocks delays it: it reports every state in order, and tidings_client_state() the current
/// one. It is not called for TIDINGS_STATE_CLOSED after a tidings_client_close() of your own. A topic that is refused
/// is no change of the state: see TIDINGS_ACTION_REFUSED.
///
/// Threads: any. The client owns `user_data`. Returns TIDINGS_ERR_CLOSED, and TIDINGS_ERR_NETWORK when a thread cannot
/// be started.
tidings_status tidings_client_on_state(
    tidings_client *client, tidings_state_callback callback, void *user_data, tidings_drop_callback drop,
    tidings_error **error);

/// Sets the callback for lost and closed streams, and replaces the previous one; NULL removes it.
///
/// Threads, ownership and errors: as tidings_client_on_state().
tidings_status tidings_client_on_disconnect(
    tidings_client *client, tidings_disconnect_callback callback, void *user_data, tidings_drop_callback drop,
    tidings_error **error);

/// The state itself.
tidings_state tidings_state_info_state(const tidings_state_info *state);

/// Why the connection is down.
tidings_reason tidings_state_info_reason(const tidings_state_info *state);

/// The state with its reason, as text for people, such as "live".
const char *tidings_state_info_text(const tidings_state_info *state);

/// The error behind the reason; NULL if there is none.
const tidings_error *tidings_state_info_error(const tidings_state_info *state);

/// With TIDINGS_STATE_WAITING, in how many milliseconds from now the next attempt starts; otherwise -1.
int64_t tidings_state_info_retry_in_ms(const tidings_state_info *state);

/// With TIDINGS_STATE_SUSPENDED, for how many milliseconds until now there has been no connection; otherwise -1.
int64_t tidings_state_info_offline_ms(const tidings_state_info *state);

/// Frees a state.
void tidings_state_info_free(tidings_state_info *state);

/// The name of a state, such as "live".
const char *tidings_state_name(tidings_state state);

/// The name of a reason, such as "ended_by_server".
const char *tidings_reason_name(tidings_reason reason);

// ---- Subscriptions ----------------------------------------------------------------------------------------

/// Creates an options object with all defaults, for any number of subscriptions. Never NULL. A value that cannot be
/// used is reported by tidings_client_subscribe().
///
/// Threads: any. The options are yours: free them with tidings_subscribe_options_free().
tidings_subscribe_options *tidings_subscribe_options_new(void);

/// Frees options. Subscriptions created with them are not affected.
void tidings_subscribe_options_free(tidings_subscribe_options *options);

/// Delivers only changes of records that match this filter. Build it with tidings_filter() if it contains values from
/// outside. PocketBase sends nothing when a record stops matching, and nothing at all if the filter has an unknown
/// field.
tidings_status tidings_subscribe_options_set_filter(
    tidings_subscribe_options *options, const char *expression);

/// Relations to put into the record's "expand", separated by commas.
tidings_status tidings_subscribe_options_set_expand(
    tidings_subscribe_options *options, const char *relations);

/// The fields that records shall have, separated by commas. Without "id" among them, tidings_event_record_id() is NULL.
tidings_status tidings_subscribe_options_set_fields(tidings_subscribe_options *options, const char *fields);

/// Adds any other query parameter, which the server's rules see as @request.query. It replaces one with the same name.
tidings_status tidings_subscribe_options_add_query(
    tidings_subscribe_options *options, const char *name, const char *query_value);

/// Adds a header for this topic, which the server's rules see as @request.headers: "X-Token" as x_token.
tidings_status tidings_subscribe_options_add_header(
    tidings_subscribe_options *options, const char *name, const char *header_value);

/// The capacity of this listener's queue, in events, and what happens when it is full: see
/// tidings_client_options_set_queue(). Also returns TIDINGS_ERR_INVALID_ARGUMENT for an unknown policy; with a capacity
/// of 0, tidings_client_subscribe() does.
tidings_status tidings_subscribe_options_set_queue(
    tidings_subscribe_options *options, size_t events, tidings_overflow overflow);

/// Whether tidings_client_subscribe() waits until the server has acknowledged or refused the topic. Default: yes. If
/// not, it returns immediately, with or without a network, and the client keeps connecting in the background; a refusal
/// is then reported as TIDINGS_ACTION_REFUSED.
tidings_status tidings_subscribe_options_set_wait(tidings_subscribe_options *options, bool wanted);

/// How long tidings_client_subscribe() waits for this topic. Default: tidings_client_options_set_subscribe_timeout().
/// When the timeout expires, the subscription is withdrawn, and the call returns the last error, such as
/// TIDINGS_ERR_REFUSED, or TIDINGS_ERR_TIMEOUT.
tidings_status tidings_subscribe_options_set_timeout(tidings_subscribe_options *options, uint64_t timeout_ms);

/// Subscribes to changes of all records of a collection (topic "*", by the collection's list rule) or of one record by
/// its id (by the view rule), and waits until the server has acknowledged or refused the topic. Each change that the
/// server sends from then on reaches the listener, or a notice says what may be missing: TIDINGS_ACTION_GAP,
/// TIDINGS_ACTION_LAGGED.
///
/// With a callback, each event is passed to it, one at a time and in order. Without one (NULL), events go into the
/// client's queue: see tidings_client_next(). Subscriptions to the same topic share it on the wire.
///
/// Without a callback, each event in the queue carries `user_data`, see tidings_event_user_data(), and `drop` is called
/// when the subscription has ended and the last of its events has been freed.
///
/// A callback is called for the last time with TIDINGS_ACTION_REFUSED, which has the reason, if the server or the token
/// callback ended the subscription. If you unsubscribe or close the client, it is not called again. In both cases
/// `drop` follows.
///
/// Threads: any. `options` may be NULL, are only read and stay yours. The subscription owns `user_data`, until it has
/// ended. `*id`, if `id` is not NULL, is set to the subscription's id, which is never 0 and needs no free. Returns
/// TIDINGS_ERR_INVALID_TOPIC, TIDINGS_ERR_INVALID_ARGUMENT for an option with an invalid value, TIDINGS_ERR_UNSUPPORTED
/// for an option that the backend does not support, TIDINGS_ERR_REFUSED with the server's HTTP status and message,
/// TIDINGS_ERR_NETWORK when a client that was never connected cannot reach the server, TIDINGS_ERR_TIMEOUT,
/// TIDINGS_ERR_TOKEN_PROVIDER, or TIDINGS_ERR_CLOSED.
tidings_status tidings_client_subscribe(
    tidings_client *client, const char *collection, const char *topic,
    const tidings_subscribe_options *options, tidings_event_callback callback, void *user_data,
    tidings_drop_callback drop, uint64_t *id, tidings_error **error);

/// Subscribes to any topic, such as one that a server hook publishes to, or "posts/*" as a whole. "PB_CONNECT" delivers
/// an event each time a stream has been (re)established, after the server has acknowledged all other topics on it.
///
/// Threads, ownership and errors: as tidings_client_subscribe().
tidings_status tidings_client_subscribe_topic(
    tidings_client *client, const char *topic, const tidings_subscribe_options *options,
    tidings_event_callback callback, void *user_data, tidings_drop_callback drop, uint64_t *id,
    tidings_error **error);

/// Ends a subscription. Its callback is not called again. A call that is running on another thread is not waited for: free
/// what the callback uses in `drop`. An expired id, or 0, does nothing.
///
/// Threads: any. `drop` is called soon after, on a thread of the client. Returns TIDINGS_ERR_FORKED in a forked child.
tidings_status tidings_client_unsubscribe(tidings_client *client, uint64_t id, tidings_error **error);

/// Ends all subscriptions to the collection's `topic`, whatever their options, or with NULL all of the collection.
///
/// Threads: any. `*count`, if `count` is not NULL, is set to their number. Otherwise as tidings_client_unsubscribe().
tidings_status tidings_client_unsubscribe_collection(
    tidings_client *client, const char *collection, const char *topic, size_t *count, tidings_error **error);

/// Ends all subscriptions to a topic as passed to tidings_client_subscribe_topic(), whatever their options.
///
/// Threads: any. `*count`, if `count` is not NULL, is set to their number. Otherwise as tidings_client_unsubscribe().
tidings_status tidings_client_unsubscribe_topic(
    tidings_client *client, const char *topic, size_t *count, tidings_error **error);

/// Ends all subscriptions to topics that begin with `prefix`.
///
/// Threads: any. `*count`, if `count` is not NULL, is set to their number. Otherwise as tidings_client_unsubscribe().
tidings_status tidings_client_unsubscribe_prefix(
    tidings_client *client, const char *prefix, size_t *count, tidings_error **error);

/// Ends all subscriptions of the client.
///
/// Threads: any. `*count`, if `count` is not NULL, is set to their number. Otherwise as tidings_client_unsubscribe().
tidings_status tidings_client_unsubscribe_all(tidings_client *client, size_t *count, tidings_error **error);

/// The state of a subscription.
///
/// Threads: any.
tidings_subscription_state tidings_client_subscription_state(tidings_client *client, uint64_t id);

/// Why no event can come to a subscription; NULL otherwise. While the state is TIDINGS_SUBSCRIPTION_DENIED, what the server
/// answers to a list with the same options. While it is TIDINGS_SUBSCRIPTION_PENDING or _INTERRUPTED, the last refusal of
/// the topic, with 429 or 5xx, which the client submits again.
///
/// Threads: any. The error is yours: free it with tidings_error_free().
tidings_error *tidings_client_subscription_denial(tidings_client *client, uint64_t id);

/// The name of a subscription's state, such as "live".
const char *tidings_subscription_state_name(tidings_subscription_state state);

/// The number of events that a subscription has dropped because its queue was full; 0 for an expired id.
///
/// Threads: any.
uint64_t tidings_client_subscription_lost(tidings_client *client, uint64_t id);

// ---- Events -----------------------------------------------------------------------------------------------

/// What the event reports.
tidings_action tidings_event_action(const tidings_event *event);

/// The name of an action, such as "create".
const char *tidings_action_name(tidings_action action);

/// Whether the client generated this event (from TIDINGS_ACTION_GAP on), and not the server.
bool tidings_event_is_notice(const tidings_event *event);

/// The id of the subscription; 0 for TIDINGS_ACTION_STATE and TIDINGS_ACTION_DISCONNECTED. A callback may be called
/// with its id before tidings_client_subscribe() has returned it.
uint64_t tidings_event_subscription(const tidings_event *event);

/// With TIDINGS_ACTION_COMPLETED, the id of the call; otherwise 0.
uint64_t tidings_event_call(const tidings_event *event);

/// The `user_data` of the subscription or call whose event it is, as the queue delivers it. NULL for events of
/// a callback, which has it as its argument, and for notices of the client.
void *tidings_event_user_data(const tidings_event *event);

/// With TIDINGS_ACTION_COMPLETED of tidings_client_send_async(), the response; otherwise NULL.
const tidings_response *tidings_event_response(const tidings_event *event);

/// The topic as it is sent to the server, options included, such as "posts/*"; NULL from TIDINGS_ACTION_ENDED on.
const char *tidings_event_topic(const tidings_event *event);

/// The event name that the server sent: with PocketBase the topic, with RustBaaS "record_created" and the like, or the
/// type of a custom message. For notices the topic, if there is one; otherwise NULL.
const char *tidings_event_name(const tidings_event *event);

/// The id of the record; NULL if the event has no record, or `fields` left out the id.
const char *tidings_event_record_id(const tidings_event *event);

/// The record as JSON text; NULL if there is none. With TIDINGS_ACTION_COMPLETED of a login, that of the user. With RustBaaS, its fields are beside its id, as with PocketBase.
const char *tidings_event_record(const tidings_event *event);

/// The length of tidings_event_record() in bytes; 0 when that is NULL.
size_t tidings_event_record_len(const tidings_event *event);

/// The whole payload as JSON text: for changes of records {"action": ..., "record": {...}}, with every backend. NULL
/// for notices, and for a payload that is not JSON, which a server hook can send: see tidings_event_data().
const char *tidings_event_json(const tidings_event *event);

/// The length of tidings_event_json() in bytes; 0 when that is NULL.
size_t tidings_event_json_len(const tidings_event *event);

/// The payload as received, without a copy; NULL for notices. `*len` is set to its length, or to 0; `len` may be NULL.
/// The payload is UTF-8 and may contain any character. A NUL that is not counted follows it.
const char *tidings_event_data(const tidings_event *event, size_t *len);

/// With TIDINGS_ACTION_LAGGED, the number of dropped events; otherwise 0.
uint64_t tidings_event_lagged(const tidings_event *event);

/// With TIDINGS_ACTION_GAP, why changes may have been missed.
tidings_gap_reason tidings_event_gap_reason(const tidings_event *event);

/// The name of a gap's reason, such as "disconnected".
const char *tidings_gap_reason_name(tidings_gap_reason reason);

/// With TIDINGS_ACTION_GAP, the start of the time in which changes may have been missed, as Unix time in milliseconds;
/// otherwise -1. It is when the last complete message arrived, which on a quiet topic may be long before the loss. The
/// clock is that of this machine, which may differ from the server's.
int64_t tidings_event_gap_since_ms(const tidings_event *event);

/// With TIDINGS_ACTION_GAP, the end of that time: when the server acknowledged the subscription again, as Unix time in
/// milliseconds; otherwise -1.
int64_t tidings_event_gap_until_ms(const tidings_event *event);

/// With TIDINGS_ACTION_GAP, how long that time is, in milliseconds; otherwise -1.
int64_t tidings_event_gap_duration_ms(const tidings_event *event);

/// With TIDINGS_ACTION_REFUSED and TIDINGS_ACTION_ENDED, why the subscription ended, and NULL if you ended it. With
/// TIDINGS_ACTION_COMPLETED, why the call failed, and NULL if it succeeded. NULL for other actions.
const tidings_error *tidings_event_error(const tidings_event *event);

/// With TIDINGS_ACTION_STATE, the new state; otherwise NULL.
const tidings_state_info *tidings_event_state(const tidings_event *event);

/// With TIDINGS_ACTION_DISCONNECTED, the topics that are still subscribed: if there are none, the client closed the
/// stream itself; otherwise it is about to reconnect. NULL for other actions.
const tidings_strings *tidings_event_topics(const tidings_event *event);

/// Another reference to the same event, to keep it longer than the callback or the batch; NULL for NULL. The payload is
/// shared, not copied. The clone is yours: free it with tidings_event_free().
tidings_event *tidings_event_clone(const tidings_event *event);

/// Frees an event that tidings_event_clone() returned.
void tidings_event_free(tidings_event *event);

// ---- The queue --------------------------------------------------------------------------------------------

/// Creates an empty batch. Never NULL.
///
/// Threads: any. The batch is yours: free it with tidings_batch_free().
tidings_batch *tidings_batch_new(void);

/// Takes up to `most` events out of the client's queue, which receives the events of all subscriptions without a
/// callback, and the notices enabled by tidings_client_options_set_notices(). The previous contents of the batch are
/// freed.
///
/// Waits up to `timeout_ms` milliseconds for the first event. If none arrives, it returns TIDINGS_OK with an empty
/// batch. With 0 it does not wait, with a negative timeout it waits indefinitely. Subscriptions take turns, so that one
/// with a backlog does not hold up the others.
///
/// Threads: any; if several wait, each event goes to one of them. The batch: one at a time. The events belong to the
/// batch. Returns TIDINGS_ERR_CLOSED, immediately, when the client is closed; events not taken by then are dropped.
tidings_status tidings_client_next(
    tidings_client *client, tidings_batch *batch, size_t most, int64_t timeout_ms, tidings_error **error);

/// The number of events in the batch.
///
/// Threads: any, while the batch is not being filled.
size_t tidings_batch_len(const tidings_batch *batch);

/// The event at `index`; NULL if `index` is out of range.
///
/// Threads: any, while the batch is not being filled. The event belongs to the batch, until the next
/// tidings_client_next() with it.
const tidings_event *tidings_batch_event(const tidings_batch *batch, size_t index);

/// Frees a batch and its events.
void tidings_batch_free(tidings_batch *batch);

/// A descriptor that is readable exactly while tidings_client_next() would not wait, for poll(), epoll, kqueue or an
/// event loop built on them. Only wait for it: never read, write or close it. -1 for NULL, in a forked child, if the
/// system has no descriptor left, and on Windows, which has nothing like it: there a thread of yours waits in
/// tidings_client_next() with a timeout, and tells your loop.
///
/// Threads: any. The descriptor belongs to the client, and stays the same until the client is freed.
int32_t tidings_client_fd(tidings_client *client);

// ---- The queue, for languages and threads -----------------------------------------------------------------

/// Takes events as tidings_client_next() does, and copies them into your buffer in the same call: `*count` heads of type
/// tidings_packed_event, then their text. If not all fit, the rest stays in the batch, and the next call with it copies
/// those instead of taking more; so nothing is lost. `*wanted` is the size that would have held all: if that is more
/// than `size`, call again, with a larger buffer if `*count` is 0. One crossing for many events is what a language with
/// costly calls wants.
///
/// Threads: as tidings_client_next(). The buffer is yours, of `size` bytes, and aligned as malloc() does; it is valid
/// without the batch, save `user_data`, which lasts as the events of the batch do. `count` and `wanted` may be NULL. Returns
/// TIDINGS_ERR_INVALID_ARGUMENT for a buffer that is not aligned, and the errors of tidings_client_next().
tidings_status tidings_client_next_packed(
    tidings_client *client, tidings_batch *batch, size_t most, int64_t timeout_ms, void *buffer, size_t size,
    size_t *count, size_t *wanted, tidings_error **error);

/// The ids of subscriptions that have events to take, in the order of their turns: up to `most` of them into `ids`, and
/// their number into `*count`.
///
/// Threads: any. Returns TIDINGS_ERR_FORKED in a forked child.
tidings_status tidings_client_ready(
    tidings_client *client, uint64_t *ids, size_t most, size_t *count, tidings_error **error);

/// tidings_client_next() for the events of one subscription, without waiting.
///
/// Threads, ownership and errors: as tidings_client_next().
tidings_status tidings_client_take(
    tidings_client *client, uint64_t id, tidings_batch *batch, size_t most, tidings_error **error);

/// Pauses a subscription without a callback, or goes on. While it is paused, its events stay in its own queue, with its
/// overflow policy, and do not make tidings_client_fd() readable: for a program whose own queue for it is full. If it
/// ends, its events and its end are delivered nevertheless. An expired id, or 0, does nothing.
///
/// Threads: any. Returns TIDINGS_ERR_FORKED in a forked child.
tidings_status tidings_client_pause(tidings_client *client, uint64_t id, bool paused, tidings_error **error);

// ---- Who the client is ------------------------------------------------------------------------------------

/// Logs in with a user name or e-mail address and a password. The client then acts as that user: live subscriptions
/// move to the new identity, no event of the old one arrives after that, and each subscription gets a
/// TIDINGS_ACTION_GAP. For superusers, the collection is "_superusers", also with servers before 0.23.
///
/// Threads: any. `*record`, if `record` is not NULL, is set to the user's record as JSON text, which is yours: free it
/// with tidings_string_free(). Returns TIDINGS_ERR_REFUSED, with HTTP status 400, for wrong credentials, and the errors
/// of tidings_client_send().
tidings_status tidings_client_auth_with_password(
    tidings_client *client, const char *collection, const char *identity, const char *password, char **record,
    tidings_error **error);

/// Exchanges the client's token for a new one.
///
/// Threads: any. `*record` as with tidings_client_auth_with_password(). Returns TIDINGS_ERR_REFUSED, with HTTP status
/// 401, when the token has expired or was revoked, and the errors of tidings_client_send().
tidings_status tidings_client_auth_refresh(
    tidings_client *client, const char *collection, char **record, tidings_error **error);

/// Logs in through an OAuth2 provider, such as "github", that is configured for the collection. `open` is called once,
/// on the callback thread, with the URL that the user has to visit. The call returns when the login has succeeded or
/// failed, or after 5 minutes.
///
/// Threads: any. The call owns `user_data`. `*record` as with tidings_client_auth_with_password(). Returns
/// TIDINGS_ERR_INVALID_ARGUMENT when the server does not know the provider, TIDINGS_ERR_PROTOCOL when the user or the
/// provider declined, TIDINGS_ERR_TIMEOUT, and the errors of tidings_client_send().
tidings_status tidings_client_auth_with_oauth2(
    tidings_client *client, const char *collection, const char *provider, tidings_open_callback open,
    void *user_data, tidings_drop_callback drop, char **record, tidings_error **error);

/// Sets the token, with or without "Bearer ", and the record that it belongs to as JSON text, or NULL. It takes effect
/// on its own, as with tidings_client_auth_with_password(). To become a guest, pass NULL for both.
///
/// Threads: any. The texts are copied. Returns TIDINGS_ERR_INVALID_ARGUMENT when the token is empty or has characters
/// that a header cannot carry, or the record is not JSON or comes without a token, and TIDINGS_ERR_CLOSED.
tidings_status tidings_client_set_token(
    tidings_client *client, const char *token, const char *record, tidings_error **error);

/// The token without "Bearer ", or NULL for a guest.
///
/// Threads: any. `*token` is yours: free it with tidings_string_free(). Returns TIDINGS_ERR_FORKED in a forked child.
tidings_status tidings_client_token(tidings_client *client, char **token, tidings_error **error);

/// The record of the user as JSON text, or NULL when there was no login and none was set.
///
/// Threads: any. `*record` is yours: free it with tidings_string_free(). Returns TIDINGS_ERR_FORKED in a forked child.
tidings_status tidings_client_auth_record(tidings_client *client, char **record, tidings_error **error);

/// Whether there is a token that has not expired according to its `exp` claim. The server is not asked.
///
/// Threads: any.
bool tidings_client_auth_is_valid(tidings_client *client);

// ---- Requests ---------------------------------------------------------------------------------------------

/// Creates an options object with all defaults, for any number of requests. Never NULL. A value that cannot be used is
/// reported by tidings_client_send().
///
/// Threads: any. The options are yours: free them with tidings_request_options_free().
tidings_request_options *tidings_request_options_new(void);

/// Frees options.
void tidings_request_options_free(tidings_request_options *options);

/// Adds a parameter to the query of the URL, and encodes it.
tidings_status tidings_request_options_add_query(
    tidings_request_options *options, const char *name, const char *query_value);

/// Adds a header.
tidings_status tidings_request_options_add_header(
    tidings_request_options *options, const char *name, const char *header_value);

/// Sets a body of any bytes: `len` bytes at `data`, and their type for the header Content-Type, such as
/// "multipart/form-data; boundary=x". It replaces the body passed to tidings_client_send().
tidings_status tidings_request_options_set_body(
    tidings_request_options *options, const void *data, size_t len, const char *content_type);

/// The timeout for the whole exchange. Default: 30 seconds.
tidings_status tidings_request_options_set_timeout(tidings_request_options *options, uint64_t timeout_ms);

/// Sends one request with the client's token, if it has one, and waits for the response. `path` is relative to the
/// server's URL and may have a query; `body` is JSON text, or NULL. `options` may be NULL. A response of more than 64
/// MiB is refused, with TIDINGS_ERR_NETWORK.
///
/// Threads: any. `options` are only read and stay yours. `*response`, if `response` is not NULL, is yours: free it with
/// tidings_response_free(). Returns TIDINGS_ERR_REFUSED for every HTTP status but 200 to 299, TIDINGS_ERR_NETWORK,
/// TIDINGS_ERR_TIMEOUT, TIDINGS_ERR_PROTOCOL, TIDINGS_ERR_INVALID_ARGUMENT, or TIDINGS_ERR_CLOSED.
tidings_status tidings_client_send(
    tidings_client *client, const char *method, const char *path, const char *body,
    const tidings_request_options *options, tidings_response **response, tidings_error **error);

/// The HTTP status, from 200 to 299; 0 for NULL.
uint16_t tidings_response_status(const tidings_response *response);

/// The value of a header; NULL if it is missing or not text. Names are case-insensitive.
const char *tidings_response_header(const tidings_response *response, const char *name);

/// The body as received, or NULL for NULL. `*len` is set to its length, or to 0; `len` may be NULL. A NUL that is not
/// counted follows the body, which may contain any bytes.
const char *tidings_response_body(const tidings_response *response, size_t *len);

/// Frees a response.
void tidings_response_free(tidings_response *response);

// ---- Calls that do not wait -------------------------------------------------------------------------------

/// tidings_client_send() without waiting: the result comes as TIDINGS_ACTION_COMPLETED into the queue, with `*id` as
/// tidings_event_call(), `user_data`, and tidings_event_response() or tidings_event_error(). The call makes progress
/// while the queue is taken with tidings_client_next() or tidings_client_next_packed(), whenever tidings_client_fd() is
/// readable. At most 10,000 run at once.
///
/// Threads: any. `options` are only read. `drop` is called when the completion has been freed, or the call is cancelled.
/// `id` may be NULL. Returns TIDINGS_ERR_INVALID_ARGUMENT and TIDINGS_ERR_CLOSED; the completion has the other errors of
/// tidings_client_send().
tidings_status tidings_client_send_async(
    tidings_client *client, const char *method, const char *path, const char *body,
    const tidings_request_options *options, void *user_data, tidings_drop_callback drop, uint64_t *id,
    tidings_error **error);

/// tidings_client_auth_with_password() without waiting. The completion in the queue has the user's record as
/// tidings_event_record(); see tidings_client_send_async().
///
/// Threads, ownership and errors: as tidings_client_send_async().
tidings_status tidings_client_auth_with_password_async(
    tidings_client *client, const char *collection, const char *identity, const char *password,
    void *user_data, tidings_drop_callback drop, uint64_t *id, tidings_error **error);

/// tidings_client_auth_refresh() without waiting. As tidings_client_auth_with_password_async().
///
/// Threads, ownership and errors: as tidings_client_send_async().
tidings_status tidings_client_auth_refresh_async(
    tidings_client *client, const char *collection, void *user_data, tidings_drop_callback drop, uint64_t *id,
    tidings_error **error);

/// tidings_client_subscribe() without waiting and without a callback: `*id` is the id of the subscription. Its first event is
/// TIDINGS_ACTION_ACKNOWLEDGED, or TIDINGS_ACTION_ENDED with the error that tidings_client_subscribe() would return, and
/// each has `user_data`. `topic` is one of the collection; if `collection` is NULL, it is any topic, as with
/// tidings_client_subscribe_topic(). tidings_client_unsubscribe() cancels it. With
/// tidings_subscribe_options_set_wait(false), it goes on connecting after a failure instead.
///
/// Threads: any. It makes progress as tidings_client_send_async() does. `drop` is called when the subscription has ended
/// and its last event has been freed. `id` may be NULL. Returns TIDINGS_ERR_INVALID_TOPIC, TIDINGS_ERR_INVALID_ARGUMENT,
/// TIDINGS_ERR_UNSUPPORTED and TIDINGS_ERR_CLOSED.
tidings_status tidings_client_subscribe_async(
    tidings_client *client, const char *collection, const char *topic,
    const tidings_subscribe_options *options, void *user_data, tidings_drop_callback drop, uint64_t *id,
    tidings_error **error);

/// Cancels a call. `*cancelled`, which may be NULL, says whether it was running: then nothing of it comes into the
/// queue, and its `drop` has been called. A request that was sent may still take effect at the server. The id of a
/// subscription, an expired id and 0 do nothing.
///
/// Threads: any. Returns TIDINGS_ERR_FORKED in a forked child.
tidings_status tidings_client_cancel(
    tidings_client *client, uint64_t id, bool *cancelled, tidings_error **error);

// ---- Live views: options ----------------------------------------------------------------------------------

/// Creates an options object with all defaults, for any number of views. Never NULL. A value that cannot be used is
/// reported by tidings_client_watch().
///
/// Threads: any. The options are yours: free them with tidings_watch_options_free().
tidings_watch_options *tidings_watch_options_new(void);

/// Frees options. Views created with them are not affected.
void tidings_watch_options_free(tidings_watch_options *options);

/// Lists only records that match this filter, of at most 3,000 characters. Build it with tidings_filter() if it contains
/// values from outside. Default: all records.
tidings_status tidings_watch_options_set_filter(tidings_watch_options *options, const char *expression);

/// The order: names of fields, separated by commas, "-" before those that fall, such as "-created". The id is appended,
/// so that the order is total. Default: by id.
tidings_status tidings_watch_options_set_sort(tidings_watch_options *options, const char *fields);

/// Shows a window: the first `rows` of the list, at least one. Default: all matching records, which are all kept in
/// memory.
tidings_status tidings_watch_options_set_limit(tidings_watch_options *options, size_t rows);

/// How many rows beyond the limit are kept, so that the server is not asked for each row that leaves the window. Default: 20.
tidings_status tidings_watch_options_set_slack(tidings_watch_options *options, size_t rows);

/// Relations to put into the rows' "expand", separated by commas. A change of an expanded record is not reported by the
/// server.
tidings_status tidings_watch_options_set_expand(tidings_watch_options *options, const char *relations);

/// How often the view is compared with the server's list, which alone finds records that a rule hides from now on.
/// Default: 300,000 ms; at least 1,000. 0: never.
tidings_status tidings_watch_options_set_audit(tidings_watch_options *options, uint64_t interval_ms);

/// Whether the server alone decides which records match. Default: no; the library does where it can, which costs the
/// server less. For BosBase, whose database compares texts in its own way, and for a host that must not receive what does not
/// match.
tidings_status tidings_watch_options_set_filter_on_server(tidings_watch_options *options, bool wanted);

/// Whether tidings_client_watch() waits for the first list. Default: yes. If not, it returns immediately, with or without
/// a network, and the view goes on connecting. What ends it, such as a refusal, is then told as its last news.
tidings_status tidings_watch_options_set_wait(tidings_watch_options *options, bool wanted);

/// How long tidings_client_watch() waits for the first list. Default: 30,000 ms.
tidings_status tidings_watch_options_set_timeout(tidings_watch_options *options, uint64_t timeout_ms);

// ---- Live views -------------------------------------------------------------------------------------------

/// Makes a live view: a list of the collection's records, with filter, order and limit, that is kept up to date. After an
/// outage it is compared with the server's list; records that left the filter are gone, and it says while it is in doubt.
/// The call waits for the first list. `options` may be NULL.
///
/// tidings_view_rows() has the list at any time. Changes come in batches, of which a slow reader gets fewer and larger ones,
/// and never loses one:
/// - With a callback, each batch is passed to it, on the thread that runs all callbacks of the client. Its last call has
///   TIDINGS_FRESHNESS_ENDED and tidings_changes_error(), unless the view was closed or freed here. `drop` follows.
/// - Without one (NULL), each time that there is something to take that was not there before, and when the view has ended,
///   TIDINGS_ACTION_CHANGED comes into the client's queue, with tidings_view_id() as tidings_event_subscription() and with
///   `user_data`: call tidings_view_next() with a timeout of 0 then. One may still come after tidings_view_free(); `drop`
///   is called when the last one has been freed.
///
/// No news comes before `*view` is set. The first batch is one TIDINGS_DELTA_KIND_RESET with the first list. One without
/// deltas says that the freshness has changed.
///
/// Threads: any. `*view` is yours: free it with tidings_view_free(), which ends it. `options` are only read. Returns
/// TIDINGS_ERR_INVALID_ARGUMENT for a filter with a syntax error (with its column), an order or a limit that cannot be,
/// TIDINGS_ERR_UNSUPPORTED where the backend has no lists (RustBaaS), TIDINGS_ERR_REFUSED with the server's HTTP status
/// and message (404: no such collection, 403: only superusers may list it, 400: an unknown field in the filter, 401: the
/// server does not take the token), TIDINGS_ERR_NETWORK, TIDINGS_ERR_TIMEOUT, TIDINGS_ERR_CLOSED.
tidings_status tidings_client_watch(
    tidings_client *client, const char *collection, const tidings_watch_options *options,
    tidings_changes_callback callback, void *user_data, tidings_drop_callback drop, tidings_view **view,
    tidings_error **error);

/// The id of a view, which no other view or subscription of the client has: TIDINGS_ACTION_CHANGED names it. 0 for NULL.
///
/// Threads: any.
uint64_t tidings_view_id(tidings_view *view);

/// Waits for the next batch of changes, but not longer than `timeout_ms` milliseconds: then it returns TIDINGS_OK, and
/// `*changes` is NULL. With 0 it does not wait, with a negative timeout it waits indefinitely. Not for a view with a
/// callback.
///
/// Threads: any; if several wait, one of them waits for the others. `*changes` is yours: free it with
/// tidings_changes_free(). When nothing more comes, it returns TIDINGS_ERR_CLOSED if the view or the client was closed
/// here, or the error that ended the view, such as TIDINGS_ERR_REFUSED.
tidings_status tidings_view_next(
    tidings_view *view, int64_t timeout_ms, tidings_changes **changes, tidings_error **error);

/// The rows as they are now: none before the first list, and after the end what was shown last. It is cheap.
///
/// Threads: any. `*rows` is yours: free it with tidings_rows_free(). Returns TIDINGS_ERR_FORKED in a forked child.
tidings_status tidings_view_rows(tidings_view *view, tidings_rows **rows, tidings_error **error);

/// Whether the rows are what the server has.
///
/// Threads: any.
tidings_freshness tidings_view_freshness(tidings_view *view);

/// For how long the rows have been in doubt, in milliseconds; when they are proven, how long ago they were last compared with
/// the server's list. -1 for NULL and in a forked child.
///
/// Threads: any.
int64_t tidings_view_since_ms(tidings_view *view);

/// What ended the view, or the server's answer that has put it in doubt; NULL if there is none.
///
/// Threads: any. The error is yours: free it with tidings_error_free().
tidings_error *tidings_view_error(tidings_view *view);

/// Compares the view with the server's list, and waits for it: afterwards the rows show every write that was committed
/// before the call. While the link is down it waits. When `timeout_ms` milliseconds have passed, it returns
/// TIDINGS_ERR_TIMEOUT; with a negative timeout it waits indefinitely.
///
/// Threads: any. Returns the error that has ended the view, if one has.
tidings_status tidings_view_prove(tidings_view *view, int64_t timeout_ms, tidings_error **error);

/// tidings_view_prove() without waiting: the result comes as TIDINGS_ACTION_COMPLETED into the queue of the view's client;
/// see tidings_client_send_async().
///
/// Threads, ownership and errors: as tidings_client_send_async().
tidings_status tidings_client_prove_async(
    tidings_client *client, tidings_view *view, void *user_data, tidings_drop_callback drop, uint64_t *id,
    tidings_error **error);

/// Ends a view, also for a thread that waits for its changes. Its rows can still be read. Closing again does nothing.
///
/// Threads: any, callbacks included. Returns TIDINGS_ERR_FORKED in a forked child.
tidings_status tidings_view_close(tidings_view *view, tidings_error **error);

/// Ends a view and frees it. Its callback is not called again; one that is running is not waited for. Rows and changes that
/// were taken from it stay.
///
/// Threads: one at a time, callbacks included. It may be freed after its client.
void tidings_view_free(tidings_view *view);

/// The name of a freshness, such as "proven".
const char *tidings_freshness_name(tidings_freshness freshness);

/// The number of rows.
size_t tidings_rows_len(const tidings_rows *rows);

/// The id of the record at `index`; NULL if `index` is out of range.
const char *tidings_rows_id(const tidings_rows *rows, size_t index);

/// The record at `index` as JSON; NULL if `index` is out of range. `*len`, if `len` is not NULL, is set to its length.
const char *tidings_rows_record(const tidings_rows *rows, size_t index, size_t *len);

/// All records as one JSON array, for languages in which a call for each is dear. `*len`, if `len` is not NULL, is set to
/// its length. NULL for NULL.
const char *tidings_rows_array(const tidings_rows *rows, size_t *len);

/// Frees rows.
void tidings_rows_free(tidings_rows *rows);

/// The number of deltas in a batch; 0 if only the freshness has changed.
size_t tidings_changes_len(const tidings_changes *changes);

/// What the delta at `index` does to the list. Done in their order to the rows of the batch before, the deltas give
/// tidings_changes_rows().
tidings_delta_kind tidings_changes_kind(const tidings_changes *changes, size_t index);

/// The place that a row is taken from, of an update or a removal; otherwise SIZE_MAX.
size_t tidings_changes_from(const tidings_changes *changes, size_t index);

/// The place that a row is put at, of an insertion or an update; otherwise SIZE_MAX.
size_t tidings_changes_to(const tidings_changes *changes, size_t index);

/// Why a row left, of a removal; otherwise TIDINGS_REMOVE_REASON_NONE.
tidings_remove_reason tidings_changes_why(const tidings_changes *changes, size_t index);

/// The id of the record that came, changed or left; NULL for a reset.
const char *tidings_changes_id(const tidings_changes *changes, size_t index);

/// The record that came, as it is now, or as it was when it left, as JSON; NULL for a reset. `*len`, if `len` is not NULL, is
/// set to its length.
const char *tidings_changes_record(const tidings_changes *changes, size_t index, size_t *len);

/// What an updated record was before, as JSON; NULL for other deltas. `*len`, if `len` is not NULL, is set to its length.
const char *tidings_changes_old(const tidings_changes *changes, size_t index, size_t *len);

/// The rows after these changes; none when the view has ended. They belong to the changes.
const tidings_rows *tidings_changes_rows(const tidings_changes *changes);

/// Whether the rows are what the server has, after these changes.
tidings_freshness tidings_changes_freshness(const tidings_changes *changes);

/// What ended the view, or the server's answer that has put it in doubt; NULL if there is none.
const tidings_error *tidings_changes_error(const tidings_changes *changes);

/// Frees changes.
void tidings_changes_free(tidings_changes *changes);

/// The name of the kind of a delta, such as "insert".
const char *tidings_delta_kind_name(tidings_delta_kind kind);

/// The name of the reason why a row left, such as "left_filter".
const char *tidings_remove_reason_name(tidings_remove_reason reason);

// ---- Filters ----------------------------------------------------------------------------------------------

/// Replaces the placeholders {:name} of a filter expression by values, quoted so that no value can change the meaning
/// of the expression. `values` is a JSON object: with the expression "title = {:title} && likes > {:n}" and the values
/// {"title": "it's", "n": 7}, the filter is "title = 'it\'s' && likes > 7".
///
/// Threads: any. `*filter` is yours: free it with tidings_string_free(). Returns TIDINGS_ERR_INVALID_ARGUMENT when
/// `values` is not a JSON object, a placeholder has no value or no closing brace, or a text contains a NUL.
tidings_status tidings_filter(
    const char *expression, const char *values, char **filter, tidings_error **error);

// ---- Counters ---------------------------------------------------------------------------------------------

/// The current counters. `size` is sizeof(tidings_stats) as your program was compiled: a newer library writes no more
/// than that, and an older one sets the counters that it does not know to 0.
///
/// Threads: any. Returns TIDINGS_ERR_FORKED in a forked child, and TIDINGS_ERR_INVALID_ARGUMENT for a size that is not
/// a multiple of 8.
tidings_status tidings_client_stats(
    tidings_client *client, tidings_stats *stats, size_t size, tidings_error **error);

// ---- Options of an event source ---------------------------------------------------------------------------

/// Creates an options object with all defaults, for any number of event sources. Never NULL. A value that cannot be used is
/// reported by tidings_source_new().
///
/// Threads: any. The options are yours: free them with tidings_source_options_free().
tidings_source_options *tidings_source_options_new(void);

/// Frees options. Sources created with them are not affected.
void tidings_source_options_free(tidings_source_options *options);

/// The method: any but CONNECT and HEAD. The default is GET, and POST if there is a body. It also decides what happens when
/// the stream ends: see tidings_source_options_set_reconnect().
tidings_status tidings_source_options_set_method(tidings_source_options *options, const char *method);

/// Adds a header to each request; a later one replaces an earlier one of the same name. Values are treated as secrets,
/// except those of a few names that never hold one.
tidings_status tidings_source_options_add_header(
    tidings_source_options *options, const char *name, const char *header_value);

/// The body of each request: `len` bytes at `data`. It makes POST the default method. Set its Content-Type as a header.
tidings_status tidings_source_options_set_body(tidings_source_options *options, const void *data, size_t len);

/// A token, sent as "Authorization: Bearer ..." to the origin of the URL and to no other.
tidings_status tidings_source_options_set_token(tidings_source_options *options, const char *token);

/// The id to continue after, as saved from tidings_source_last_event_id(). Empty means none.
tidings_status tidings_source_options_set_last_event_id(tidings_source_options *options, const char *id);

/// How long a stream may be silent before it counts as lost; comments count as activity. No limit by default.
tidings_status tidings_source_options_set_read_timeout(tidings_source_options *options, uint64_t timeout_ms);

/// The timeout for connecting: DNS, TCP, proxy and TLS. The default is 10 seconds.
tidings_status tidings_source_options_set_connect_timeout(
    tidings_source_options *options, uint64_t timeout_ms);

/// The reconnection time to begin with; the default is 1 second. The server's "retry:" replaces it.
tidings_status tidings_source_options_set_retry(tidings_source_options *options, uint64_t time_ms);

/// The shortest and the longest delay of the backoff after failures. Default: 200 milliseconds and 20 seconds.
tidings_status tidings_source_options_set_backoff(
    tidings_source_options *options, uint64_t min_ms, uint64_t max_ms);

/// Whether the source makes its request again when the stream has ended.
///
/// By default the method decides. GET reconnects, as the standard says: that is how feeds of changes are read. Every other
/// method takes one answer, since the request may have effects: a prompt sent twice is answered and paid for twice, and its
/// answers run into each other. A client must not repeat such a request on its own (RFC 9110, section 9.2.2). So with one
/// answer
///
/// - the request is repeated only until the answer has begun, and only if the server cannot have acted on it: there was no
///   connection, or the status was 429, 503 or 529, with or without Retry-After;
/// - at most 3 tries are made within 60 seconds;
/// - once bytes of a 200 have arrived, an end is the end: TIDINGS_SOURCE_KIND_CLOSED, without an error after an orderly one,
///   or with an error and the number of messages before the cut, see tidings_error_messages().
///
/// True reconnects with any method, false takes one answer with GET too.
tidings_status tidings_source_options_set_reconnect(tidings_source_options *options, bool wanted);

/// How many connections in a row may fail before the source ends with the last error; at least 1. A stream that delivers a
/// message, or lasts for a minute, begins a new count. By default a source that reconnects never gives up. Setting this or
/// tidings_source_options_set_retry_for() replaces both defaults.
tidings_status tidings_source_options_set_max_tries(tidings_source_options *options, uint32_t tries);

/// For how long failed connections are repeated, counted from the first failing one. It ends early if the next try would be
/// later than that, for example because of a long Retry-After.
tidings_status tidings_source_options_set_retry_for(tidings_source_options *options, uint64_t time_ms);

/// Sets no limit of tries or of time.
tidings_status tidings_source_options_set_retry_forever(tidings_source_options *options);

/// A content type to accept besides text/event-stream, for servers that label their streams wrongly, such as "text/plain".
/// May be called more than once. Empty accepts an answer without a content type.
tidings_status tidings_source_options_add_accept_type(
    tidings_source_options *options, const char *content_type);

/// Makes the request once: when the stream ends, or cannot be opened, the source ends. Unlike
/// tidings_source_options_set_reconnect() with false it is not repeated before the answer either.
tidings_status tidings_source_options_set_once(tidings_source_options *options);

/// Whether comments are delivered too. The default is no.
tidings_status tidings_source_options_set_comments(tidings_source_options *options, bool wanted);

/// The largest message accepted, in bytes; the default is 16 MiB. A larger one is dropped and reported as
/// TIDINGS_SOURCE_KIND_TOO_LARGE.
tidings_status tidings_source_options_set_message_limit(tidings_source_options *options, size_t bytes);

/// The User-Agent; the default is "tidings/VERSION".
tidings_status tidings_source_options_set_user_agent(tidings_source_options *options, const char *name);

/// Certificates to trust in addition to those of the system, in PEM: `len` bytes at `pem`.
tidings_status tidings_source_options_set_ca_pem(
    tidings_source_options *options, const void *pem, size_t len);

/// The certificate to show to servers that ask for one: its chain and its key, in PEM.
tidings_status tidings_source_options_set_client_certificate(
    tidings_source_options *options, const void *chain_pem, size_t chain_len, const void *key_pem,
    size_t key_len);

/// The proxy, as "http://user:password@host:port", instead of what the environment says. NULL means none.
tidings_status tidings_source_options_set_proxy(tidings_source_options *options, const char *url);

/// Sets the callback that decides about answers that are not an event stream. By default a source that reconnects tries
/// again after 408, 425, 429 and 5xx, one that takes one answer after 429, 503 and 529, and everything else ends the
/// source. It is not called for 204, which ends the source for good, nor, with one answer, for any 2xx. It replaces an
/// earlier callback; NULL removes it.
///
/// Threads: one at a time; the callback runs on a thread of its own, may block and may call anything, and
/// tidings_source_close() does not wait for it. `user_data` passes to the options, until the callback is replaced, and to the sources made with them meanwhile, and is
/// dropped with the last of them.
tidings_status tidings_source_options_on_status(
    tidings_source_options *options, tidings_status_callback callback, void *user_data,
    tidings_drop_callback drop);

/// Sets the callback that gives the token, the headers and the URL of each connection, so that a stream that is open for
/// days survives the expiry of its token. It replaces an earlier callback; NULL removes it.
///
/// Threads: one at a time; the callback runs on a thread of its own, may block and may call anything, and
/// tidings_source_close() does not wait for it. `user_data` passes to the options, until the callback is replaced, and to
/// the sources created with them meanwhile, and is dropped with the last of them, and not while the callback runs.
tidings_status tidings_source_options_on_connect(
    tidings_source_options *options, tidings_connect_callback callback, void *user_data,
    tidings_drop_callback drop);

/// Sets another URL for this connection. The headers, the token and the body of the options are sent to it, whatever its
/// origin.
///
/// Threads: that of the callback.
tidings_status tidings_source_request_set_url(tidings_source_request *request, const char *url);

/// Sets the token of this connection, sent as "Authorization: Bearer ...".
///
/// Threads: that of the callback.
tidings_status tidings_source_request_set_token(tidings_source_request *request, const char *token);

/// Adds a header to this connection; it replaces one of the options with the same name. Its value is treated as a secret.
///
/// Threads: that of the callback.
tidings_status tidings_source_request_add_header(
    tidings_source_request *request, const char *name, const char *header_value);

/// There is nothing to connect with, and why, in a text for people. It counts as a failed connection, with
/// TIDINGS_ERR_TOKEN_PROVIDER, and is tried again after a delay.
///
/// Threads: that of the callback.
tidings_status tidings_source_request_fail(tidings_source_request *request, const char *message);

// ---- Event sources ----------------------------------------------------------------------------------------

/// Creates an event source, which connects at once. All event sources of a process share one thread for their I/O. Each
/// reads ahead up to 64 events, or 1 MiB and one event; then its server has to wait. `options` may be NULL.
///
/// The method decides what the end of a stream means. GET reconnects until the source is closed. Every other method takes
/// one answer, since its request may have effects: see tidings_source_options_set_reconnect().
///
/// The query of the URL is sent, and a fragment ignored. "user:password@" before the host is sent as Basic authorization,
/// unless there is a token or a header Authorization.
///
/// Threads: any. `*source` is yours: free it with tidings_source_free(). `options` are only read and stay yours. Returns
/// TIDINGS_ERR_INVALID_URL, TIDINGS_ERR_INVALID_ARGUMENT for an option that cannot be used, and an error if no thread can be
/// created.
tidings_status tidings_source_new(
    const char *url, const tidings_source_options *options, tidings_source **source, tidings_error **error);

/// Waits for the next event, but not longer than `timeout_ms` milliseconds: then it returns TIDINGS_OK, and `*event` is
/// NULL. With 0 it does not wait, with a negative timeout it waits indefinitely.
///
/// Threads: any; when several wait, each event goes to one of them. `*event` is yours: free it with
/// tidings_source_event_free(). Returns TIDINGS_ERR_CLOSED, at once, when there is nothing more: after
/// TIDINGS_SOURCE_KIND_CLOSED was given, and when the source was closed here.
tidings_status tidings_source_next(
    tidings_source *source, int64_t timeout_ms, tidings_source_event **event, tidings_error **error);

/// A descriptor that is readable exactly while tidings_source_next() would not wait. See tidings_client_fd().
///
/// Threads: any. The descriptor belongs to the source.
int32_t tidings_source_fd(tidings_source *source);

/// The state of the connection: TIDINGS_STATE_CONNECTING, _LIVE, _WAITING or _CLOSED.
///
/// Threads: any.
tidings_state tidings_source_state(tidings_source *source);

/// The id that is in force after the last event that was taken. Save it, and pass it to
/// tidings_source_options_set_last_event_id() when the program starts again. Empty if there is none.
///
/// Threads: any. `*id` is yours: free it with tidings_string_free(). Returns TIDINGS_ERR_FORKED in a forked child.
tidings_status tidings_source_last_event_id(tidings_source *source, char **id, tidings_error **error);

/// Drops the connection, if there is one, and makes the request again at once, with the id of the last message and whatever
/// the method. What has been read already is still delivered. After the end it does nothing.
///
/// Threads: any. Returns TIDINGS_ERR_FORKED in a forked child.
tidings_status tidings_source_restart(tidings_source *source, tidings_error **error);

/// Closes the source: what was not taken is dropped, and waiting calls return TIDINGS_ERR_CLOSED. It returns when its socket
/// is gone, and the thread with the last source. The source still has to be freed. Closing once more does nothing.
///
/// Threads: any. Returns TIDINGS_ERR_FORKED in a forked child, and does nothing there.
tidings_status tidings_source_close(tidings_source *source, tidings_error **error);

/// Closes the source, if that has not been done, and frees it.
///
/// Threads: one at a time: no other thread may be in a call of this source, or make one later. NULL is allowed. In a
/// forked child it leaves the parent's source alone.
void tidings_source_free(tidings_source *source);

/// The kind of the event.
tidings_source_kind tidings_source_event_kind(const tidings_source_event *event);

/// The name of a kind, such as "message".
const char *tidings_source_kind_name(tidings_source_kind kind);

/// The event type of a message, "message" unless the server named another; NULL for other kinds.
const char *tidings_source_event_name(const tidings_source_event *event);

/// The data of a message, or the text of a comment, with a NUL after it, and in `*len`, which may be NULL, its length
/// without that: the text may hold a NUL itself. Empty data is "". NULL and 0 for other kinds.
const char *tidings_source_event_data(const tidings_source_event *event, size_t *len);

/// The last event id in force with a message, or "" if there is none; NULL for other kinds.
const char *tidings_source_event_id(const tidings_source_event *event);

/// With TIDINGS_SOURCE_KIND_DISCONNECTED, why.
tidings_reason tidings_source_event_reason(const tidings_source_event *event);

/// With TIDINGS_SOURCE_KIND_DISCONNECTED what happened, and with TIDINGS_SOURCE_KIND_CLOSED what ended the source, with HTTP
/// status 204 if the server asked it to stop; NULL otherwise.
const tidings_error *tidings_source_event_error(const tidings_source_event *event);

/// With TIDINGS_SOURCE_KIND_DISCONNECTED, in how many milliseconds from now the source tries again; -1 otherwise.
int64_t tidings_source_event_retry_in_ms(const tidings_source_event *event);

/// With TIDINGS_SOURCE_KIND_OPEN, a header of the answer; NULL when there is none or it is not text. Names are not
/// case-sensitive.
const char *tidings_source_event_header(const tidings_source_event *event, const char *name);

/// With TIDINGS_SOURCE_KIND_OPEN, the HTTP status, which is 200; 0 otherwise.
uint16_t tidings_source_event_http_status(const tidings_source_event *event);

/// With TIDINGS_SOURCE_KIND_OPEN, the URL of the stream, after redirects; its query may hold secrets. NULL otherwise.
const char *tidings_source_event_url(const tidings_source_event *event);

/// Frees an event of an event source.
void tidings_source_event_free(tidings_source_event *event);

// ---- Log --------------------------------------------------------------------------------------------------

/// Sets the callback for log lines up to `level`, for all clients of the process, and replaces the previous one; NULL
/// removes it. It is meant to be called once, or a few times: each call keeps a little memory.
///
/// Up to 1,024 lines are queued. When the callback does not keep up, lines are dropped, and one line, at most every 10
/// seconds, says how many. No line contains a token, a topic or a query.
///
/// Threads: any; the callback runs on the log's own thread, one line at a time, and may call anything. The library owns
/// `user_data`; `drop` is called on that thread when the callback has been replaced. A forked child has no log until it
/// sets one. Returns TIDINGS_ERR_INVALID_ARGUMENT for an unknown level, TIDINGS_ERR_UNSUPPORTED when a Rust program has
/// installed its own log before, and TIDINGS_ERR_OTHER when a thread cannot be started.
tidings_status tidings_log_set(
    tidings_log_level level, tidings_log_callback callback, void *user_data, tidings_drop_callback drop,
    tidings_error **error);

// ---- Threads ----------------------------------------------------------------------------------------------

/// The number of threads of the library in this process: see "Threads" at the top.
///
/// Threads: any.
size_t tidings_thread_count(void);

// ---- Version ----------------------------------------------------------------------------------------------

/// The version of the library at run time, such as "0.1.0"; that of the header is TIDINGS_VERSION. Static text, never
/// NULL.
///
/// Threads: any.
const char *tidings_version(void);

#ifdef __cplusplus
}
#endif

#endif
