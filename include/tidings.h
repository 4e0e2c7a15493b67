// tidings: a realtime client for PocketBase, BosBase and RustBaaS servers, and for any stream of server-sent events.
//
//     tidings_client *client = NULL;
//     tidings_error *error = NULL;
//     if (tidings_client_new("http://127.0.0.1:8090", NULL, &client, &error) == TIDINGS_OK
//         && tidings_client_subscribe(client, "posts", "*", NULL, on_event, NULL, NULL, NULL, &error) == TIDINGS_OK)
//         getchar(); // on_event is called meanwhile, on a thread of the client
//     if (error) fprintf(stderr, "%s\n", tidings_error_message(error));
//     tidings_error_free(error);
//     tidings_client_free(client);
//
// Threads
//     Each client has a thread that does its I/O, and a second one, started with the first callback, that runs
//     callbacks: one at a time, in order. So a callback may block without stalling the connection, and may call every
//     function of this header, those included that close or free the client it belongs to.
//     "Threads: any" means that a function may be called from every thread and from every callback, also while other
//     threads use the same object. "Threads: one at a time" means from every thread and callback, but not while
//     another thread uses the same object. Freeing an object is always the last use of it, by any thread. No result
//     depends on which thread asks: there is no last error per thread, nor anything else of that kind.
//
// Ownership
//     What a function named ..._new, _clone, _next or _send, or one with an argument `type **`, has given is yours,
//     and goes back to the function of that type whose name ends in _free, which takes NULL too. Pointers to const are
//     borrowed: they hold as long as the object that they came from, or, for the arguments of a callback, until the
//     callback returns. A `char *` that is not const goes to tidings_string_free(). What you pass in is read during
//     the call and never kept, but for `user_data`.
//     With each callback goes a pointer `user_data`, which may be NULL, and a function `drop`, which may be NULL. The
//     library calls drop(user_data) exactly once, when the callback cannot be called any more: also when the function
//     that it was passed to fails, then before that returns, and also when the callback was NULL. It may come on any
//     thread, never at the same time as the callback, and may itself call anything. Only a forked child never sees it.
//
// Failure
//     A function that can fail returns a tidings_status. A last argument `error` may be NULL; otherwise `*error` is set
//     to a tidings_error, which is yours, or to NULL on success. It need not be initialised. When a function fails, what
//     it should have given is set to NULL or 0. Functions without a status answer NULL with NULL, 0, -1 or false.
//     A NULL that an argument does not allow, text that is no UTF-8, a number that is in no enumeration and a closed
//     client are answered with a status. A pointer to freed or foreign memory cannot be.
//     What happens to the connection later is no failure of a call: the client reconnects and says so, see
//     tidings_action and tidings_state. It never gives up on a network that fails, nor retries what the server has
//     refused for good. No error, no log line and no text of a state holds a token, a password or the query of a URL.
//
// Text
//     All text is UTF-8 and ends with a NUL. Where it may hold a NUL itself, its length is given too. Two functions give
//     bytes that NO NUL ends, and their length: tidings_event_data() and tidings_error_body(). Print those with
//     printf("%.*s", (int)len, data).
//
// Panics and exceptions
//     Should the library have a bug that makes Rust panic, the call returns TIDINGS_ERR_PANIC and the message of the
//     panic, which is also printed to stderr; the process goes on. The other way round nothing may pass: a C++
//     exception or a longjmp() that leaves a callback is undefined or ends the process. The classes of tidings.hpp
//     stop exceptions by themselves.
//
// Fork
//     Threads do not survive fork(). In the child every call with an object of the parent returns TIDINGS_ERR_FORKED,
//     and freeing one is harmless: it leaves its memory alone, and the parent's connection too. A new client works in
//     the child. Between fork() and exec() only what is async-signal-safe may be called, so nothing of this header.
//
// Valgrind
//     With --leak-check=full it reports 48 bytes as "possibly lost", once per process: Rust's own handle of a thread, kept
//     in thread-local storage, of which valgrind sees only a pointer into it. tests/c/valgrind.supp, installed as
//     share/tidings/valgrind.supp, suppresses that: valgrind --suppressions=PREFIX/share/tidings/valgrind.supp.
//
// Versions
//     Functions, values of enumerations and fields at the end of tidings_stats may be added; nothing is taken away or
//     changes its meaning while the soname is libtidings.so.0. Be ready for values that you do not know.
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

// ---- Types ------------------------------------------------------------------------------------------------

/// What became of a call. The numbers never change.
typedef enum tidings_status {
    /// It succeeded.
    TIDINGS_OK = 0,
    /// An argument is NULL that may not be.
    TIDINGS_ERR_NULL_ARGUMENT = 1,
    /// A text is not UTF-8.
    TIDINGS_ERR_INVALID_UTF8 = 2,
    /// An option, header, token or other argument cannot be used.
    TIDINGS_ERR_INVALID_ARGUMENT = 3,
    /// The URL of the server cannot be used.
    TIDINGS_ERR_INVALID_URL = 4,
    /// The topic cannot be subscribed to.
    TIDINGS_ERR_INVALID_TOPIC = 5,
    /// The backend cannot do this.
    TIDINGS_ERR_UNSUPPORTED = 6,
    /// The server answered, and its answer was no: see tidings_error_http_status().
    TIDINGS_ERR_REFUSED = 7,
    /// The token callback failed.
    TIDINGS_ERR_TOKEN_PROVIDER = 8,
    /// The server could not be reached, or the connection broke.
    TIDINGS_ERR_NETWORK = 9,
    /// It took longer than it may.
    TIDINGS_ERR_TIMEOUT = 10,
    /// What answered does not speak the expected protocol.
    TIDINGS_ERR_PROTOCOL = 11,
    /// The client or source is closed.
    TIDINGS_ERR_CLOSED = 12,
    /// The object was made by the process that this one was forked from.
    TIDINGS_ERR_FORKED = 13,
    /// The library has a bug.
    TIDINGS_ERR_PANIC = 14,
    /// Something else; the message says what.
    TIDINGS_ERR_OTHER = 15,
} tidings_status;

/// The state of a client's connection. With many topics a client keeps more than one stream; the state is that of the
/// one that is worst off.
typedef enum tidings_state {
    /// Something that this library's header did not know; also for NULL and in a forked child.
    TIDINGS_STATE_UNKNOWN = 0,
    /// Nothing is subscribed, so nothing is connected.
    TIDINGS_STATE_IDLE = 1,
    /// A stream is being opened or its topics are being submitted.
    TIDINGS_STATE_CONNECTING = 2,
    /// The stream is up and its topics are acknowledged.
    TIDINGS_STATE_LIVE = 3,
    /// The stream is up, but the server takes the client for a guest although it has a token.
    TIDINGS_STATE_UNAUTHENTICATED = 4,
    /// The connection failed and will be tried again.
    TIDINGS_STATE_WAITING = 5,
    /// There has been no connection for more than two minutes. The client goes on trying.
    TIDINGS_STATE_SUSPENDED = 6,
    /// The end: the client was closed, or the server gave an answer that trying again will not change, see
    /// tidings_state_info_error(). After the latter a new subscription makes a new try.
    TIDINGS_STATE_CLOSED = 7,
} tidings_state;

/// Why a connection ended or could not be made.
typedef enum tidings_reason {
    /// There is none to tell.
    TIDINGS_REASON_NONE = 0,
    /// The server ended the stream in an orderly way: its idle or life limit, or a shutdown.
    TIDINGS_REASON_ENDED_BY_SERVER = 1,
    /// The network failed, or what answered is no event stream.
    TIDINGS_REASON_LOST = 2,
    /// Nothing was heard for too long.
    TIDINGS_REASON_SILENCE = 3,
    /// The server refused the connection or the topics.
    TIDINGS_REASON_REFUSED = 4,
    /// The server does not know the stream any more, or knows it as another's.
    TIDINGS_REASON_STREAM_REJECTED = 5,
    /// The token was replaced by that of another user.
    TIDINGS_REASON_IDENTITY_CHANGED = 6,
    /// The network changed or the machine slept: the connection may be dead.
    TIDINGS_REASON_SUSPECTED = 7,
    /// The token has expired.
    TIDINGS_REASON_TOKEN_EXPIRED = 8,
    /// The server does not take the token any more.
    TIDINGS_REASON_TOKEN_REVOKED = 9,
    /// Something else; the text says what.
    TIDINGS_REASON_OTHER = 10,
} tidings_reason;

/// How a subscription stands.
typedef enum tidings_subscription_state {
    /// Something that this library's header did not know; also for NULL and in a forked child.
    TIDINGS_SUBSCRIPTION_STATE_UNKNOWN = 0,
    /// The server has not acknowledged the topic yet.
    TIDINGS_SUBSCRIPTION_STATE_PENDING = 1,
    /// The server has acknowledged the topic, and the stream is up.
    TIDINGS_SUBSCRIPTION_STATE_LIVE = 2,
    /// The stream was lost, or is being replaced; the client is at it.
    TIDINGS_SUBSCRIPTION_STATE_INTERRUPTED = 3,
    /// Nothing more comes; also for a spent id.
    TIDINGS_SUBSCRIPTION_STATE_ENDED = 4,
} tidings_subscription_state;

/// What an event tells. From TIDINGS_ACTION_GAP on it is a notice of the client: without them, silence and loss would
/// look alike.
typedef enum tidings_action {
    /// Something that this library's header did not know, or NULL.
    TIDINGS_ACTION_UNKNOWN = 0,
    /// A record was created.
    TIDINGS_ACTION_CREATE = 1,
    /// A record was updated, or began to match the filter.
    TIDINGS_ACTION_UPDATE = 2,
    /// A record was deleted.
    TIDINGS_ACTION_DELETE = 3,
    /// A stream was (re)established and all topics are acknowledged on it: the topic PB_CONNECT.
    TIDINGS_ACTION_CONNECT = 4,
    /// A message without one of the three record actions, such as one that a server hook sent.
    TIDINGS_ACTION_CUSTOM = 5,
    /// Changes may have been missed. The subscription is live again: list the records now, and what you show is right.
    TIDINGS_ACTION_GAP = 6,
    /// Events were dropped because the listener did not keep up: see tidings_event_lagged().
    TIDINGS_ACTION_LAGGED = 7,
    /// The server refused the subscription or took it back: see tidings_event_error(). No other change comes. A call that
    /// waits for the server's answer returns the error itself, and no event tells of it.
    TIDINGS_ACTION_REFUSED = 8,
    /// Only in the queue: the last event of a subscription, with the error that ended it, if it was one.
    TIDINGS_ACTION_ENDED = 9,
    /// Only in the queue, and if wanted: the state of the connection has changed, see tidings_event_state().
    TIDINGS_ACTION_STATE = 10,
    /// Only in the queue, and if wanted: an open stream is gone, see tidings_event_topics().
    TIDINGS_ACTION_DISCONNECTED = 11,
} tidings_action;

/// What made a gap.
typedef enum tidings_gap_reason {
    /// The event is no gap.
    TIDINGS_GAP_REASON_NONE = 0,
    /// The connection was down.
    TIDINGS_GAP_REASON_DISCONNECTED = 1,
    /// The client became somebody else.
    TIDINGS_GAP_REASON_IDENTITY_CHANGED = 2,
    /// A message was larger than the limit and was dropped.
    TIDINGS_GAP_REASON_TOO_LARGE = 3,
    /// Something that this library's header did not know.
    TIDINGS_GAP_REASON_OTHER = 4,
} tidings_gap_reason;

/// What an event of an event source tells.
typedef enum tidings_source_kind {
    /// Something that this library's header did not know, or NULL.
    TIDINGS_SOURCE_KIND_UNKNOWN = 0,
    /// A stream is open. After the first one, each means that the source has reconnected.
    TIDINGS_SOURCE_KIND_OPEN = 1,
    /// A message.
    TIDINGS_SOURCE_KIND_MESSAGE = 2,
    /// A comment; only if wanted.
    TIDINGS_SOURCE_KIND_COMMENT = 3,
    /// A message was larger than the limit and is lost. Its id counts.
    TIDINGS_SOURCE_KIND_TOO_LARGE = 4,
    /// There is no stream: it ended, broke, fell silent, or could not be opened. The source tries again.
    TIDINGS_SOURCE_KIND_DISCONNECTED = 5,
    /// The last one: the source will not try again. See tidings_source_event_error(); without one the stream ended in an
    /// orderly way, and the source was to be used once.
    TIDINGS_SOURCE_KIND_CLOSED = 6,
} tidings_source_kind;

/// How much a log line matters.
typedef enum tidings_log_level {
    /// Nothing is logged.
    TIDINGS_LOG_LEVEL_OFF = 0,
    /// What the host should see to.
    TIDINGS_LOG_LEVEL_ERROR = 1,
    /// What may need attention.
    TIDINGS_LOG_LEVEL_WARN = 2,
    /// Changes of the state.
    TIDINGS_LOG_LEVEL_INFO = 3,
    /// Streams, submits, questions for tokens.
    TIDINGS_LOG_LEVEL_DEBUG = 4,
    /// Everything.
    TIDINGS_LOG_LEVEL_TRACE = 5,
} tidings_log_level;

/// What happens when a listener does not keep up and its queue is full.
typedef enum tidings_overflow {
    /// The oldest event makes room, and TIDINGS_ACTION_LAGGED comes before the events that are left.
    TIDINGS_OVERFLOW_DROP_OLDEST = 0,
    /// The new event is dropped, and TIDINGS_ACTION_LAGGED comes after the events that were there.
    TIDINGS_OVERFLOW_DROP_NEWEST = 1,
    /// A newer event of the same record replaces the one that waits; that counts as no loss. When more records wait than
    /// the queue holds, the oldest makes room.
    TIDINGS_OVERFLOW_CONFLATE = 2,
} tidings_overflow;

/// Room for events taken from the queue. It can be used again and again.
typedef struct tidings_batch tidings_batch;

/// A client of one server: one connection, for as many subscriptions as you like.
typedef struct tidings_client tidings_client;

/// The options of clients to be. What is not set is as it is without options.
typedef struct tidings_client_options tidings_client_options;

/// Why a call failed, a subscription ended or a connection is not there. It never changes.
typedef struct tidings_error tidings_error;

/// One thing told to a listener: a change of a record, a custom message, or a notice. It never changes.
typedef struct tidings_event tidings_event;

/// The options of requests to be. What is not set is as it is without options.
typedef struct tidings_request_options tidings_request_options;

/// The answer to a request. It never changes.
typedef struct tidings_response tidings_response;

/// A client for any stream of server-sent events: the EventSource of the WHATWG HTML standard, for programs.
typedef struct tidings_source tidings_source;

/// One thing told by an event source. It never changes.
typedef struct tidings_source_event tidings_source_event;

/// The options of event sources to be. What is not set is as it is without options.
typedef struct tidings_source_options tidings_source_options;

/// A state with all that is to be said of it. It never changes.
typedef struct tidings_state_info tidings_state_info;

/// A list of texts. It never changes.
typedef struct tidings_strings tidings_strings;

/// The options of subscriptions to be. What is not set is as it is without options.
typedef struct tidings_subscribe_options tidings_subscribe_options;

/// The client's question for a token.
typedef struct tidings_token_request tidings_token_request;

/// Called when a token is needed. The request is yours.
typedef void (*tidings_token_callback)(tidings_token_request *request, void *user_data);

/// Told exactly once, when a callback cannot be called any more, with the user data that was given along.
typedef void (*tidings_drop_callback)(void *user_data);

/// Called with each change of the state.
typedef void (*tidings_state_callback)(const tidings_state_info *state, void *user_data);

/// Called when an open stream is gone, with the topics that are still wanted: with none the client has let go of the
/// connection itself, otherwise it is about to reconnect.
typedef void (*tidings_disconnect_callback)(const tidings_strings *topics, void *user_data);

/// Called with each event of a subscription. The event belongs to the call: to keep it, see tidings_event_clone().
typedef void (*tidings_event_callback)(const tidings_event *event, void *user_data);

/// Called with the address that a person is to visit. The text belongs to the call.
typedef void (*tidings_open_callback)(const char *url, void *user_data);

/// Called with the HTTP status of an answer that is no event stream: 200 if the status was that and the content type
/// something else than text/event-stream. True to try again, false to end with the error.
typedef bool (*tidings_status_callback)(int status, void *user_data);

/// Called with each line. The text belongs to the call.
typedef void (*tidings_log_callback)(tidings_log_level level, const char *line, void *user_data);

/// Counters of a client, all since it was made unless said otherwise. Later versions of the library may know more of them,
/// at the end.
typedef struct tidings_stats {
    /// Streams that were tried to open.
    uint64_t connects;
    /// Streams on which the topics were acknowledged.
    uint64_t connected;
    /// Streams that the server ended in an orderly way.
    uint64_t ended_by_server;
    /// Streams that the network lost.
    uint64_t ended_lost;
    /// Streams that were given up because nothing was heard.
    uint64_t ended_silence;
    /// Streams that the server refused.
    uint64_t ended_refused;
    /// Streams that the server did not know any more.
    uint64_t ended_rejected;
    /// Streams of a user that the client is not any more.
    uint64_t ended_identity_changed;
    /// Streams that were replaced because the network had changed or the machine slept.
    uint64_t ended_suspected;
    /// Sets of topics sent to the server.
    uint64_t submits;
    /// Sets of topics that the server did not accept.
    uint64_t submits_failed;
    /// How many microseconds the last accepted submit took.
    uint64_t submit_latency_us;
    /// Times that the server was asked whether it still takes the client for who it is.
    uint64_t probes;
    /// Messages received.
    uint64_t messages;
    /// Bytes of streams received.
    uint64_t bytes;
    /// Events handed to listeners' queues: a message with three listeners counts three times.
    uint64_t delivered;
    /// Events dropped from the queues of listeners that did not keep up.
    uint64_t lost;
    /// The most events that ever waited for one listener.
    uint64_t queue_high_water;
    /// Messages that no listener wanted, such as one for a topic just unsubscribed.
    uint64_t unmatched;
    /// Messages dropped for their size.
    uint64_t too_large;
    /// Topics wanted now.
    uint64_t topics;
    /// Listeners now.
    uint64_t listeners;
    /// Streams open or being opened now.
    uint64_t streams;
    /// Times that another stream took the place of one without an interruption.
    uint64_t hand_overs;
} tidings_stats;

// ---- Errors -----------------------------------------------------------------------------------------------

/// The name of a status, such as "TIDINGS_ERR_CLOSED"; "unknown" for any other number. Never NULL.
///
/// Threads: any. The text is static.
const char *tidings_status_name(tidings_status status);

/// What kind of error it is; TIDINGS_OK for NULL.
///
/// Threads: any.
tidings_status tidings_error_status(const tidings_error *error);

/// The HTTP status with which the server refused, such as 403; 0 for every error but TIDINGS_ERR_REFUSED.
///
/// Threads: any.
uint16_t tidings_error_http_status(const tidings_error *error);

/// One line for people that says what was wrong, with the server's own message if it sent one.
///
/// Threads: any. The text belongs to the error.
const char *tidings_error_message(const tidings_error *error);

/// The body of the server's answer as received, at most 64 KiB of it, and in `*len`, which may be NULL, its length. NULL
/// and 0 for every error but TIDINGS_ERR_REFUSED.
///
/// NO NUL ends it, so it is not for strlen() or "%s": printf("%.*s", (int)len, body). It may be any bytes.
///
/// Threads: any. The bytes belong to the error.
const char *tidings_error_body(const tidings_error *error, size_t *len);

/// How many milliseconds the server asked to wait before the next try (Retry-After); -1 if it did not.
///
/// Threads: any.
int64_t tidings_error_retry_after_ms(const tidings_error *error);

/// Frees an error that was given to you.
///
/// Threads: one at a time. NULL is allowed.
void tidings_error_free(tidings_error *error);

// ---- Strings ----------------------------------------------------------------------------------------------

/// Frees a text that was given to you as `char *`.
///
/// Threads: any. NULL is allowed.
void tidings_string_free(char *string);

/// How many texts there are.
///
/// Threads: any.
size_t tidings_strings_len(const tidings_strings *strings);

/// One of the texts; NULL when `index` is not below the length.
///
/// Threads: any. The text belongs to the list.
const char *tidings_strings_get(const tidings_strings *strings, size_t index);

/// Frees a list that was given to you.
///
/// Threads: one at a time. NULL is allowed.
void tidings_strings_free(tidings_strings *strings);

// ---- Options of a client ----------------------------------------------------------------------------------

/// Options that are all as they are without. Never NULL. They can be used for any number of clients.
///
/// Functions that set an option return TIDINGS_ERR_NULL_ARGUMENT or TIDINGS_ERR_INVALID_UTF8; whether a value can be used
/// is told by tidings_client_new().
///
/// Threads: any. The options are yours: free them with tidings_client_options_free().
tidings_client_options *tidings_client_options_new(void);

/// Frees options. Clients made with them are not concerned.
///
/// Threads: one at a time. NULL is allowed.
void tidings_client_options_free(tidings_client_options *options);

/// The token to begin with, with or without "Bearer ".
///
/// Threads: one at a time. The token is copied.
tidings_status tidings_client_options_set_token(tidings_client_options *options, const char *token);

/// Sets what to call when a token is needed: before the first stream, a minute before a token expires, and when the server
/// does not take it any more. It replaces the callback before it, and NULL takes that away.
///
/// It gets a request, which it answers with one of the tidings_token_request_... functions, then or later and from any
/// thread. One that fails is asked again, less and less often.
///
/// Threads: one at a time; the callback runs on a thread of its own for each question, and may block and call anything.
/// `user_data` passes to the options, until the callback is replaced, and to the clients made with them meanwhile, and is
/// dropped with the last of them.
tidings_status tidings_client_options_on_token(
    tidings_client_options *options, tidings_token_callback callback, void *user_data,
    tidings_drop_callback drop);

/// Adds a header for every request. Its value is taken for a secret: never shown, and never sent to another origin.
///
/// Threads: one at a time. The texts are copied.
tidings_status tidings_client_options_add_header(
    tidings_client_options *options, const char *name, const char *header_value);

/// What to call itself to the server: "tidings/VERSION" unless set.
///
/// Threads: one at a time. The text is copied.
tidings_status tidings_client_options_set_user_agent(tidings_client_options *options, const char *name);

/// The server is a RustBaaS, and the collections belong to this app of this realm. It has no filters and no `expand`, and
/// tidings_client_subscribe() says so.
///
/// Threads: one at a time. The texts are copied.
tidings_status tidings_client_options_set_rustbaas(
    tidings_client_options *options, const char *realm, const char *app);

/// The interval of a RustBaaS server's heartbeats, 15 seconds unless set. A stream that misses three is given up.
///
/// Threads: one at a time.
tidings_status tidings_client_options_set_heartbeat(tidings_client_options *options, uint64_t interval_ms);

/// Sends the token of a RustBaaS stream as "?access_token=" instead of a header. It then ends in access logs: only for
/// where headers are taken away.
///
/// Threads: one at a time.
tidings_status tidings_client_options_set_token_in_query(tidings_client_options *options);

/// Certificates to trust besides those of the system, in PEM: `len` bytes at `pem`.
///
/// Threads: one at a time. The bytes are copied.
tidings_status tidings_client_options_set_ca_pem(
    tidings_client_options *options, const void *pem, size_t len);

/// The certificate to show to servers that ask for one: its chain and its key, in PEM.
///
/// Threads: one at a time. The bytes are copied.
tidings_status tidings_client_options_set_client_certificate(
    tidings_client_options *options, const void *chain_pem, size_t chain_len, const void *key_pem,
    size_t key_len);

/// The proxy for all requests, as "http://user:password@host:port", instead of what the environment says in HTTP_PROXY,
/// HTTPS_PROXY and NO_PROXY. NULL stands for no proxy at all.
///
/// Threads: one at a time. The text is copied.
tidings_status tidings_client_options_set_proxy(tidings_client_options *options, const char *url);

/// How long a connection may take until it can be written to: name, TCP, proxy and TLS. 10 seconds unless set.
///
/// Threads: one at a time.
tidings_status tidings_client_options_set_connect_timeout(
    tidings_client_options *options, uint64_t timeout_ms);

/// How long a subscription waits for the server's word, 30 seconds unless set. A client that was connected before waits
/// so long for a lost connection to come back. One that never was fails with its first try, unless the server answered
/// that with 429 or 5xx: such answers are tried again until the time is up.
///
/// Threads: one at a time.
tidings_status tidings_client_options_set_subscribe_timeout(
    tidings_client_options *options, uint64_t timeout_ms);

/// The least and the longest delay before a lost connection is tried again, 200 milliseconds and 20 seconds unless set.
/// Each delay is drawn at random between the least and a ceiling that doubles with every failure, and after some seconds
/// is a third of the outage so far.
///
/// Unless set, a stream that was live is tried again within 100 milliseconds (250 where it had lived for less than a
/// second), ten times and once more for each three seconds of a live stream. Once set, every reconnect keeps the least
/// delay, but for one: after a change of the user a new stream is opened at once.
///
/// Threads: one at a time.
tidings_status tidings_client_options_set_backoff(
    tidings_client_options *options, uint64_t min_ms, uint64_t max_ms);

/// How many events may wait for each listener, unless it has a limit of its own, and what happens to the one too many.
/// 8,192 and TIDINGS_OVERFLOW_DROP_OLDEST unless set; at most 64 MiB in any case.
///
/// Threads: one at a time. Returns TIDINGS_ERR_INVALID_ARGUMENT too.
tidings_status tidings_client_options_set_queue(
    tidings_client_options *options, size_t events, tidings_overflow overflow);

/// The largest message taken, in bytes, 16 MiB unless set. A larger one is dropped and told as TIDINGS_ACTION_GAP.
///
/// Threads: one at a time.
tidings_status tidings_client_options_set_message_limit(tidings_client_options *options, size_t bytes);

/// How often the server is asked whether it still takes the client for who it is, 5 minutes unless set. PocketBase drops
/// an identity in silence, when the password changes for example.
///
/// Threads: one at a time.
tidings_status tidings_client_options_set_identity_check(
    tidings_client_options *options, uint64_t interval_ms);

/// Whether changes of the connection come into the queue too, as TIDINGS_ACTION_STATE and TIDINGS_ACTION_DISCONNECTED: for
/// hosts that want them there and not in callbacks. They do not unless set.
///
/// Threads: one at a time.
tidings_status tidings_client_options_set_notices(tidings_client_options *options, bool wanted);

// ---- Questions for a token --------------------------------------------------------------------------------

/// Answers with a token, or with NULL for a guest.
///
/// Threads: one at a time. The request is freed, whatever is returned: TIDINGS_ERR_NULL_ARGUMENT when it is NULL,
/// TIDINGS_ERR_INVALID_UTF8 when the token is no UTF-8, which counts as a failure. An answer that is not wanted any more
/// is harmless.
tidings_status tidings_token_request_answer(tidings_token_request *request, const char *token);

/// Answers that there is no token, and why, in a text for people: it comes to who waits for the client's first answer, as
/// TIDINGS_ERR_TOKEN_PROVIDER.
///
/// Threads: one at a time. The request is freed, whatever is returned, as by tidings_token_request_answer().
tidings_status tidings_token_request_fail(tidings_token_request *request, const char *message);

/// Frees a request without an answer, which counts as a failure.
///
/// Threads: one at a time. NULL is allowed.
void tidings_token_request_free(tidings_token_request *request);

// ---- Clients ----------------------------------------------------------------------------------------------

/// Makes a client. Nothing is connected before the first subscription. `url` is that of the server, such as
/// "http://127.0.0.1:8090", without "/api". `options` may be NULL.
///
/// A query and a fragment of the URL are ignored. "user:password@" before the host is sent as Basic authorization with
/// requests that have no token and no header Authorization: a token takes its place.
///
/// Threads: any. `*client` is yours: free it with tidings_client_free(). `options` are only read and stay yours. Returns
/// TIDINGS_ERR_INVALID_URL, TIDINGS_ERR_INVALID_ARGUMENT for an option that cannot be used, TIDINGS_ERR_UNSUPPORTED for
/// one that the backend does not have, and TIDINGS_ERR_NETWORK when the system gives no thread.
tidings_status tidings_client_new(
    const char *url, const tidings_client_options *options, tidings_client **client, tidings_error **error);

/// Closes the client: all subscriptions end, and whoever waits in another call gets TIDINGS_ERR_CLOSED. It returns when no
/// socket and no thread of the client is left, within a second, and does not wait for a callback that is running. The
/// client still has to be freed. Closing once more does nothing.
///
/// Threads: any, callbacks of this client included. Returns TIDINGS_ERR_FORKED in a forked child, and does nothing there.
tidings_status tidings_client_close(tidings_client *client, tidings_error **error);

/// Closes the client, if that has not been done, and frees it. After that no callback begins any more; one that runs at
/// the moment goes on, and the `drop` of its user data comes when it is done.
///
/// Threads: one at a time, callbacks of this client included: no other thread may be in a call of this client, or make one
/// later. To end calls of other threads, tidings_client_close() first and wait for these threads. NULL is allowed. In a
/// forked child it leaves the parent's client alone.
void tidings_client_free(tidings_client *client);

/// Tells the client that the network has changed, as a mobile host learns from its system: waiting connections are tried
/// at once, and live ones are checked.
///
/// Threads: any. Returns TIDINGS_ERR_CLOSED.
tidings_status tidings_client_network_changed(tidings_client *client, tidings_error **error);

/// The server's id of the stream, or NULL while there is none. RustBaaS gives its streams no id.
///
/// Threads: any. `*id` is yours: free it with tidings_string_free(). Returns TIDINGS_ERR_FORKED in a forked child.
tidings_status tidings_client_id(tidings_client *client, char **id, tidings_error **error);

/// The topics subscribed to, as they stand on the wire, sorted.
///
/// Threads: any. `*topics` is yours: free it with tidings_strings_free(). Returns TIDINGS_ERR_FORKED in a forked child.
tidings_status tidings_client_active_subscriptions(
    tidings_client *client, tidings_strings **topics, tidings_error **error);

// ---- The state of the connection --------------------------------------------------------------------------

/// The state of now, for hosts that poll.
///
/// Threads: any.
tidings_state tidings_client_state(tidings_client *client);

/// The state of now, with its reason.
///
/// Threads: any. `*state` is yours: free it with tidings_state_info_free(). Returns TIDINGS_ERR_FORKED in a forked child.
tidings_status tidings_client_state_info(
    tidings_client *client, tidings_state_info **state, tidings_error **error);

/// Sets what to call with each change of the state. It replaces the callback before it, and NULL takes that away. The
/// state given to it belongs to the call.
///
/// Threads: any. `user_data` passes to the client. Returns TIDINGS_ERR_CLOSED when it will never be called, and
/// TIDINGS_ERR_NETWORK when the system gives no thread.
tidings_status tidings_client_on_state(
    tidings_client *client, tidings_state_callback callback, void *user_data, tidings_drop_callback drop,
    tidings_error **error);

/// Sets what to call when an open stream is gone. It replaces the callback before it, and NULL takes that away. The list
/// given to it belongs to the call.
///
/// Threads: any. `user_data` passes to the client. Failure: as tidings_client_on_state().
tidings_status tidings_client_on_disconnect(
    tidings_client *client, tidings_disconnect_callback callback, void *user_data, tidings_drop_callback drop,
    tidings_error **error);

/// Which state it is.
///
/// Threads: any.
tidings_state tidings_state_info_state(const tidings_state_info *state);

/// Why the connection is not there.
///
/// Threads: any.
tidings_reason tidings_state_info_reason(const tidings_state_info *state);

/// State and reason in one line for people.
///
/// Threads: any. The text belongs to the state.
const char *tidings_state_info_text(const tidings_state_info *state);

/// The error behind the reason; NULL if there is none.
///
/// Threads: any. The error belongs to the state.
const tidings_error *tidings_state_info_error(const tidings_state_info *state);

/// With TIDINGS_STATE_WAITING, in how many milliseconds from now the next try begins; -1 otherwise.
///
/// Threads: any.
int64_t tidings_state_info_retry_in_ms(const tidings_state_info *state);

/// With TIDINGS_STATE_SUSPENDED, for how many milliseconds until now there has been no connection; -1 otherwise.
///
/// Threads: any.
int64_t tidings_state_info_offline_ms(const tidings_state_info *state);

/// Frees what tidings_client_state_info() gave.
///
/// Threads: one at a time. NULL is allowed.
void tidings_state_info_free(tidings_state_info *state);

/// The name of a state in lower case, such as "live"; "unknown" for any other number. Never NULL.
///
/// Threads: any. The text is static.
const char *tidings_state_name(tidings_state state);

// ---- Subscriptions ----------------------------------------------------------------------------------------

/// Options that are all as they are without. Never NULL. They can be used for any number of subscriptions.
///
/// Functions that set an option return TIDINGS_ERR_NULL_ARGUMENT or TIDINGS_ERR_INVALID_UTF8; whether a value can be used
/// is told by tidings_client_subscribe().
///
/// Threads: any. The options are yours: free them with tidings_subscribe_options_free().
tidings_subscribe_options *tidings_subscribe_options_new(void);

/// Frees options. Subscriptions made with them are not concerned.
///
/// Threads: one at a time. NULL is allowed.
void tidings_subscribe_options_free(tidings_subscribe_options *options);

/// Only changes of records that match come. Build it with tidings_filter() when it has values from elsewhere. PocketBase
/// sends nothing when a record leaves the filter, and nothing at all when the expression has an unknown field.
///
/// Threads: one at a time. The text is copied.
tidings_status tidings_subscribe_options_set_filter(
    tidings_subscribe_options *options, const char *expression);

/// Relations to put into the record's "expand", separated by commas.
///
/// Threads: one at a time. The text is copied.
tidings_status tidings_subscribe_options_set_expand(
    tidings_subscribe_options *options, const char *relations);

/// The only fields that records shall have, separated by commas. Without "id" among them, tidings_event_record_id() is
/// NULL.
///
/// Threads: one at a time. The text is copied.
tidings_status tidings_subscribe_options_set_fields(tidings_subscribe_options *options, const char *fields);

/// Any other query parameter, which the server's rules see as @request.query. A second of the same name replaces the
/// first.
///
/// Threads: one at a time. The texts are copied.
tidings_status tidings_subscribe_options_add_query(
    tidings_subscribe_options *options, const char *name, const char *query_value);

/// A header for this topic, which the server's rules see as @request.headers: "X-Token" as x_token.
///
/// Threads: one at a time. The texts are copied.
tidings_status tidings_subscribe_options_add_header(
    tidings_subscribe_options *options, const char *name, const char *header_value);

/// How many events may wait for this listener, and what happens to the one too many. See
/// tidings_client_options_set_queue().
///
/// Threads: one at a time. Returns TIDINGS_ERR_INVALID_ARGUMENT too.
tidings_status tidings_subscribe_options_set_queue(
    tidings_subscribe_options *options, size_t events, tidings_overflow overflow);

/// Whether tidings_client_subscribe() waits until the server has acknowledged or refused the topic. Unless set it does.
/// Without, it returns at once, whether there is a network or not, and the connection is tried until there is one; a
/// refusal then comes as TIDINGS_ACTION_REFUSED.
///
/// Threads: one at a time.
tidings_status tidings_subscribe_options_set_wait(tidings_subscribe_options *options, bool wanted);

/// How long tidings_client_subscribe() may wait for this topic, instead of as long as
/// tidings_client_options_set_subscribe_timeout() says. When the time is up, it withdraws the subscription and returns what
/// went wrong last, such as TIDINGS_ERR_REFUSED, or TIDINGS_ERR_TIMEOUT.
///
/// Threads: one at a time.
tidings_status tidings_subscribe_options_set_timeout(tidings_subscribe_options *options, uint64_t timeout_ms);

/// Subscribes to changes of all records of a collection (topic "*", by the collection's list rule) or of one record by its
/// id (by the view rule), and waits until the server has acknowledged or refused it. Each change that the server sends
/// from then on reaches the listener, or it is told what may be missing: TIDINGS_ACTION_GAP, TIDINGS_ACTION_LAGGED.
///
/// With a callback, events are given to it, one at a time and in order; without (NULL), they go into the client's queue:
/// see tidings_client_next(). Subscriptions to the same topic share it on the wire. A collection that does not exist, or
/// whose rule hides everything, is acknowledged like any other: then there are no events.
///
/// Threads: any. `options`, which may be NULL, are only read and stay yours. `user_data` passes to the subscription, and is
/// dropped when that has ended. `*id`, if `id` is not NULL, is the subscription's id, never 0; there is nothing to free.
/// Returns TIDINGS_ERR_INVALID_TOPIC, TIDINGS_ERR_REFUSED with the server's HTTP status and message, TIDINGS_ERR_NETWORK
/// when a client that was never connected cannot reach the server, TIDINGS_ERR_TIMEOUT, TIDINGS_ERR_UNSUPPORTED for an
/// option that the backend does not have, TIDINGS_ERR_TOKEN_PROVIDER, or TIDINGS_ERR_CLOSED.
tidings_status tidings_client_subscribe(
    tidings_client *client, const char *collection, const char *topic,
    const tidings_subscribe_options *options, tidings_event_callback callback, void *user_data,
    tidings_drop_callback drop, uint64_t *id, tidings_error **error);

/// Subscribes to any topic, such as one that a server hook publishes on, or "posts/*" as a whole. "PB_CONNECT" is told each
/// time a stream has been (re)established, after the server has acknowledged all other topics on it.
///
/// Threads, ownership and failure: as tidings_client_subscribe().
tidings_status tidings_client_subscribe_topic(
    tidings_client *client, const char *topic, const tidings_subscribe_options *options,
    tidings_event_callback callback, void *user_data, tidings_drop_callback drop, uint64_t *id,
    tidings_error **error);

/// Ends a subscription. Its callback is not called again, but for a call that runs at the moment, unless it is this one
/// that unsubscribes. A spent id, or 0, is harmless.
///
/// Threads: any. `user_data` of the callback is dropped soon, on a thread of the client. Returns TIDINGS_ERR_FORKED in a
/// forked child.
tidings_status tidings_client_unsubscribe(tidings_client *client, uint64_t id, tidings_error **error);

/// Ends the subscriptions to a collection's `topic`, whatever their options, or with NULL all of the collection.
///
/// Threads: any. `*count`, if `count` is not NULL, is how many there were. Otherwise as tidings_client_unsubscribe().
tidings_status tidings_client_unsubscribe_collection(
    tidings_client *client, const char *collection, const char *topic, size_t *count, tidings_error **error);

/// Ends the subscriptions to a topic as it is given to tidings_client_subscribe_topic(), whatever their options.
///
/// Threads: any. `*count`, if `count` is not NULL, is how many there were. Otherwise as tidings_client_unsubscribe().
tidings_status tidings_client_unsubscribe_topic(
    tidings_client *client, const char *topic, size_t *count, tidings_error **error);

/// Ends the subscriptions to all topics that begin with `prefix`.
///
/// Threads: any. `*count`, if `count` is not NULL, is how many there were. Otherwise as tidings_client_unsubscribe().
tidings_status tidings_client_unsubscribe_prefix(
    tidings_client *client, const char *prefix, size_t *count, tidings_error **error);

/// Ends all subscriptions of the client.
///
/// Threads: any. `*count`, if `count` is not NULL, is how many there were. Otherwise as tidings_client_unsubscribe().
tidings_status tidings_client_unsubscribe_all(tidings_client *client, size_t *count, tidings_error **error);

/// How a subscription stands.
///
/// Threads: any.
tidings_subscription_state tidings_client_subscription_state(tidings_client *client, uint64_t id);

/// How many events a subscription has lost because they were not taken in time; 0 for a spent id.
///
/// Threads: any.
uint64_t tidings_client_subscription_lost(tidings_client *client, uint64_t id);

// ---- Events -----------------------------------------------------------------------------------------------

/// What the event tells.
///
/// Threads: any.
tidings_action tidings_event_action(const tidings_event *event);

/// The name of an action in lower case, such as "create"; "unknown" for any other number. Never NULL.
///
/// Threads: any. The text is static.
const char *tidings_action_name(tidings_action action);

/// Whether the client speaks here (from TIDINGS_ACTION_GAP on), and not the server.
///
/// Threads: any.
bool tidings_event_is_notice(const tidings_event *event);

/// The id of the subscription that the event is for; 0 for TIDINGS_ACTION_STATE and TIDINGS_ACTION_DISCONNECTED. A callback
/// may learn its own id here before tidings_client_subscribe() has returned it.
///
/// Threads: any.
uint64_t tidings_event_subscription(const tidings_event *event);

/// The topic as it stands on the wire, options included, such as "posts/*"; NULL from TIDINGS_ACTION_ENDED on.
///
/// Threads: any. The text belongs to the event.
const char *tidings_event_topic(const tidings_event *event);

/// The name of the event as the server sent it: with PocketBase the topic, with RustBaaS "record_created" and the like, or
/// the type of a custom message. For notices the topic, and NULL where there is none.
///
/// Threads: any. The text belongs to the event.
const char *tidings_event_name(const tidings_event *event);

/// The id of the record; NULL when the event is about no record, or its id was left out by `fields`.
///
/// Threads: any. The text belongs to the event.
const char *tidings_event_record_id(const tidings_event *event);

/// The record as JSON text; NULL when there is none. With RustBaaS, its fields stand beside its id, as with PocketBase.
///
/// Threads: any. The text belongs to the event.
const char *tidings_event_record(const tidings_event *event);

/// The whole payload as JSON text: for changes of records {"action": ..., "record": {...}}, whatever the backend. NULL for
/// notices, and when a server hook sent something else than JSON: see tidings_event_data().
///
/// Threads: any. The text belongs to the event.
const char *tidings_event_json(const tidings_event *event);

/// The payload as received, without a copy, and in `*len`, which may be NULL, its length. NULL and 0 for notices.
///
/// NO NUL ends it, so it is not for strlen() or "%s": printf("%.*s", (int)len, data). It is UTF-8 that may hold any
/// character.
///
/// Threads: any. The bytes belong to the event.
const char *tidings_event_data(const tidings_event *event, size_t *len);

/// With TIDINGS_ACTION_LAGGED, how many events were dropped; 0 otherwise.
///
/// Threads: any.
uint64_t tidings_event_lagged(const tidings_event *event);

/// With TIDINGS_ACTION_GAP, what made it.
///
/// Threads: any.
tidings_gap_reason tidings_event_gap_reason(const tidings_event *event);

/// With TIDINGS_ACTION_GAP, since when changes may have been missed, in milliseconds of Unix time by this machine's clock,
/// which must not agree with the server's; -1 otherwise.
///
/// Threads: any.
int64_t tidings_event_gap_since_ms(const tidings_event *event);

/// With TIDINGS_ACTION_GAP, how many milliseconds it lasted; -1 otherwise.
///
/// Threads: any.
int64_t tidings_event_gap_duration_ms(const tidings_event *event);

/// With TIDINGS_ACTION_REFUSED and TIDINGS_ACTION_ENDED, why; NULL otherwise, and when you have ended the subscription.
///
/// Threads: any. The error belongs to the event.
const tidings_error *tidings_event_error(const tidings_event *event);

/// With TIDINGS_ACTION_STATE, the state; NULL otherwise.
///
/// Threads: any. It belongs to the event.
const tidings_state_info *tidings_event_state(const tidings_event *event);

/// With TIDINGS_ACTION_DISCONNECTED, the topics that are still wanted: with none the client has let go of the connection
/// itself, otherwise it is about to reconnect. NULL otherwise.
///
/// Threads: any. The list belongs to the event.
const tidings_strings *tidings_event_topics(const tidings_event *event);

/// The same event once more, for keeping it longer than the callback or the batch; NULL for NULL. The payload is shared
/// and not copied.
///
/// Threads: any. The clone is yours: free it with tidings_event_free().
tidings_event *tidings_event_clone(const tidings_event *event);

/// Frees an event that tidings_event_clone() gave.
///
/// Threads: one at a time. NULL is allowed.
void tidings_event_free(tidings_event *event);

// ---- The queue --------------------------------------------------------------------------------------------

/// An empty batch. Never NULL.
///
/// Threads: any. The batch is yours: free it with tidings_batch_free().
tidings_batch *tidings_batch_new(void);

/// Takes up to `most` events out of the client's queue: those of all subscriptions that have no callback, and others that
/// were asked for with tidings_client_options_set_notices(). The events of the batch before are freed.
///
/// It waits until there is one, but not longer than `timeout_ms` milliseconds: then it returns TIDINGS_OK, and the batch
/// is empty. With 0 it does not wait, with a negative time-out it waits for ever. Subscriptions take turns, so one with a
/// backlog does not keep the others waiting.
///
/// Threads: any; when several wait, each event goes to one of them. The batch: one at a time. The events belong to the
/// batch. Returns TIDINGS_ERR_CLOSED, at once, when the client is closed, here or elsewhere; what was not taken by then is
/// dropped.
tidings_status tidings_client_next(
    tidings_client *client, tidings_batch *batch, size_t most, int64_t timeout_ms, tidings_error **error);

/// How many events there are.
///
/// Threads: any, while nothing is put into the batch.
size_t tidings_batch_len(const tidings_batch *batch);

/// One of the events; NULL when `index` is not below the length.
///
/// Threads: any, while nothing is put into the batch. The event belongs to the batch, until the next
/// tidings_client_next() with it.
const tidings_event *tidings_batch_event(const tidings_batch *batch, size_t index);

/// Frees a batch and its events.
///
/// Threads: one at a time. NULL is allowed.
void tidings_batch_free(tidings_batch *batch);

/// A descriptor that is readable exactly while tidings_client_next() would not wait, for poll(), epoll, kqueue or an event
/// loop over them. Only wait for it; never read, write or close it. -1 when there is none: for NULL, in a forked child,
/// or when the system gives none.
///
/// Threads: any. The descriptor belongs to the client.
int32_t tidings_client_fd(tidings_client *client);

// ---- Who the client is ------------------------------------------------------------------------------------

/// Logs in with a user name or e-mail address and a password; the client then is that user. A change of the user takes
/// effect on its own: nothing that was meant for the old one reaches a listener, and each listener is told of the change
/// by TIDINGS_ACTION_GAP. For superusers, the collection is "_superusers", also with servers before 0.23.
///
/// Threads: any. `*record`, if `record` is not NULL, is the user's record as JSON text, and yours: free it with
/// tidings_string_free(). Returns TIDINGS_ERR_REFUSED, with HTTP status 400, when the credentials are wrong, and what
/// tidings_client_send() may return.
tidings_status tidings_client_auth_with_password(
    tidings_client *client, const char *collection, const char *identity, const char *password, char **record,
    tidings_error **error);

/// Exchanges the client's token for a fresh one.
///
/// Threads: any. `*record` as with tidings_client_auth_with_password(). Returns TIDINGS_ERR_REFUSED, with HTTP status 401,
/// when the token has expired or was revoked, and what tidings_client_send() may return.
tidings_status tidings_client_auth_refresh(
    tidings_client *client, const char *collection, char **record, tidings_error **error);

/// Logs in through another site, such as "github", that the collection is set up for. `open` is called once, on the
/// callback thread, with the address that the person is to visit; the call returns when that is done, or failed, or has
/// taken 5 minutes.
///
/// Threads: any. `user_data` passes to the call. `*record` as with tidings_client_auth_with_password(). Returns
/// TIDINGS_ERR_INVALID_ARGUMENT when the server does not know the site, TIDINGS_ERR_PROTOCOL when the person or the site
/// said no, TIDINGS_ERR_TIMEOUT, and what tidings_client_send() may return.
tidings_status tidings_client_auth_with_oauth2(
    tidings_client *client, const char *collection, const char *provider, tidings_open_callback open,
    void *user_data, tidings_drop_callback drop, char **record, tidings_error **error);

/// Sets the token, with or without "Bearer ", and the record that it belongs to as JSON text, which may be NULL. It takes
/// effect on its own, as with tidings_client_auth_with_password().
///
/// To become a guest, pass NULL for the token. An empty token is an error, whose message speaks of Rust's `clear`: that is
/// this NULL.
///
/// Threads: any. The texts are copied. Returns TIDINGS_ERR_INVALID_ARGUMENT when the token is empty or has characters that
/// cannot stand in a header or the record is not JSON, and TIDINGS_ERR_CLOSED.
tidings_status tidings_client_set_token(
    tidings_client *client, const char *token, const char *record, tidings_error **error);

/// The token, without "Bearer ", or NULL for a guest.
///
/// Threads: any. `*token` is yours: free it with tidings_string_free(). Returns TIDINGS_ERR_FORKED in a forked child.
tidings_status tidings_client_token(tidings_client *client, char **token, tidings_error **error);

/// The record of the user as JSON text, or NULL when the client neither logged in nor was given it.
///
/// Threads: any. `*record` is yours: free it with tidings_string_free(). Returns TIDINGS_ERR_FORKED in a forked child.
tidings_status tidings_client_auth_record(tidings_client *client, char **record, tidings_error **error);

/// Whether there is a token that, by its own word, has not expired. The server is not asked.
///
/// Threads: any.
bool tidings_client_auth_is_valid(tidings_client *client);

// ---- Requests ---------------------------------------------------------------------------------------------

/// Options that are all as they are without. Never NULL. They can be used for any number of requests.
///
/// Functions that set an option return TIDINGS_ERR_NULL_ARGUMENT or TIDINGS_ERR_INVALID_UTF8; whether a value can be used
/// is told by tidings_client_send().
///
/// Threads: any. The options are yours: free them with tidings_request_options_free().
tidings_request_options *tidings_request_options_new(void);

/// Frees options.
///
/// Threads: one at a time. NULL is allowed.
void tidings_request_options_free(tidings_request_options *options);

/// Adds a parameter to the query of the URL; it is encoded as needed.
///
/// Threads: one at a time. The texts are copied.
tidings_status tidings_request_options_add_query(
    tidings_request_options *options, const char *name, const char *query_value);

/// Adds a header.
///
/// Threads: one at a time. The texts are copied.
tidings_status tidings_request_options_add_header(
    tidings_request_options *options, const char *name, const char *header_value);

/// Sets a body of any bytes: `len` at `data`, with their type for the header Content-Type, such as "multipart/form-data;
/// boundary=x". It comes before the body that tidings_client_send() is given.
///
/// Threads: one at a time. The bytes are copied.
tidings_status tidings_request_options_set_body(
    tidings_request_options *options, const void *data, size_t len, const char *content_type);

/// Sets how long the whole exchange may take, 30 seconds unless set.
///
/// Threads: one at a time.
tidings_status tidings_request_options_set_timeout(tidings_request_options *options, uint64_t timeout_ms);

/// Sends one request with the client's token, if it has one, and waits for the answer. `path` is below the server's URL and
/// may have a query; `body` is JSON text, or NULL. `options` may be NULL. An answer of more than 64 MiB is refused, with
/// TIDINGS_ERR_NETWORK.
///
/// Threads: any. `options` are only read and stay yours. `*response`, if `response` is not NULL, is yours: free it with
/// tidings_response_free(). Returns TIDINGS_ERR_REFUSED for every HTTP status but 200 to 299, TIDINGS_ERR_NETWORK,
/// TIDINGS_ERR_TIMEOUT, TIDINGS_ERR_PROTOCOL, TIDINGS_ERR_INVALID_ARGUMENT, or TIDINGS_ERR_CLOSED.
tidings_status tidings_client_send(
    tidings_client *client, const char *method, const char *path, const char *body,
    const tidings_request_options *options, tidings_response **response, tidings_error **error);

/// The HTTP status, from 200 to 299; 0 for NULL.
///
/// Threads: any.
uint16_t tidings_response_status(const tidings_response *response);

/// A header's value; NULL when there is none or it is not text. Names are not case-sensitive.
///
/// Threads: any. The text belongs to the response.
const char *tidings_response_header(const tidings_response *response, const char *name);

/// The body as received, with a NUL after it, and in `*len`, which may be NULL, its length without that. NULL and 0 for
/// NULL.
///
/// Threads: any. The bytes belong to the response.
const char *tidings_response_body(const tidings_response *response, size_t *len);

/// Frees a response.
///
/// Threads: one at a time. NULL is allowed.
void tidings_response_free(tidings_response *response);

// ---- Filters ----------------------------------------------------------------------------------------------

/// Puts values into the places {:name} of a filter expression, quoted so that no value can change what the expression
/// means. `values` is a JSON object: with the expression "title = {:title} && likes > {:n}" and the values
/// {"title": "it's", "n": 7} the filter is "title = 'it\'s' && likes > 7".
///
/// Threads: any. `*filter` is yours: free it with tidings_string_free(). Returns TIDINGS_ERR_INVALID_ARGUMENT when `values`
/// is not a JSON object, when a place has no value or is not closed, and when a text holds a NUL.
tidings_status tidings_filter(
    const char *expression, const char *values, char **filter, tidings_error **error);

// ---- Counters ---------------------------------------------------------------------------------------------

/// The counters of now. `size` is sizeof(tidings_stats) as the program was compiled: a newer library writes no more than
/// that, an older one sets what it does not know to 0.
///
/// Threads: any. Returns TIDINGS_ERR_FORKED in a forked child, and TIDINGS_ERR_INVALID_ARGUMENT for a size that is no
/// multiple of 8.
tidings_status tidings_client_stats(
    tidings_client *client, tidings_stats *stats, size_t size, tidings_error **error);

// ---- Options of an event source ---------------------------------------------------------------------------

/// Options that are all as they are without. Never NULL. They can be used for any number of event sources.
///
/// Functions that set an option return TIDINGS_ERR_NULL_ARGUMENT or TIDINGS_ERR_INVALID_UTF8; whether a value can be used
/// is told by tidings_source_new().
///
/// Threads: any. The options are yours: free them with tidings_source_options_free().
tidings_source_options *tidings_source_options_new(void);

/// Frees options. Sources made with them are not concerned.
///
/// Threads: one at a time. NULL is allowed.
void tidings_source_options_free(tidings_source_options *options);

/// The method, any but CONNECT and HEAD. Unless set it is GET, and POST where there is a body.
///
/// Threads: one at a time. The text is copied.
tidings_status tidings_source_options_set_method(tidings_source_options *options, const char *method);

/// Adds a header for each request; the last of a name counts. Values are taken for secrets, except those of a few names
/// that never are one.
///
/// Threads: one at a time. The texts are copied.
tidings_status tidings_source_options_add_header(
    tidings_source_options *options, const char *name, const char *header_value);

/// A body of `len` bytes at `data`, sent again with each reconnect. Set its Content-Type as a header.
///
/// Threads: one at a time. The bytes are copied.
tidings_status tidings_source_options_set_body(tidings_source_options *options, const void *data, size_t len);

/// A token, sent as "Authorization: Bearer ..." to the origin of the URL and to no other.
///
/// Threads: one at a time. The token is copied.
tidings_status tidings_source_options_set_token(tidings_source_options *options, const char *token);

/// The id to begin after, as kept from tidings_source_last_event_id(). Empty is the same as none.
///
/// Threads: one at a time. The text is copied.
tidings_status tidings_source_options_set_last_event_id(tidings_source_options *options, const char *id);

/// How long no byte may come before the stream is taken for lost and opened again; comments count. No limit unless set.
///
/// Threads: one at a time.
tidings_status tidings_source_options_set_read_timeout(tidings_source_options *options, uint64_t timeout_ms);

/// How long a connection may take until it can be written to: name, TCP, proxy and TLS. 10 seconds unless set.
///
/// Threads: one at a time.
tidings_status tidings_source_options_set_connect_timeout(
    tidings_source_options *options, uint64_t timeout_ms);

/// The reconnection time to begin with, 1 second unless set. The server's "retry:" replaces it.
///
/// Threads: one at a time.
tidings_status tidings_source_options_set_retry(tidings_source_options *options, uint64_t time_ms);

/// The bounds of the back-off after failures, 200 milliseconds and 20 seconds unless set.
///
/// Threads: one at a time.
tidings_status tidings_source_options_set_backoff(
    tidings_source_options *options, uint64_t min_ms, uint64_t max_ms);

/// Never reconnects: when the stream ends, or cannot be opened, the source ends. For requests that must not be repeated,
/// such as a prompt to a language model.
///
/// Threads: one at a time.
tidings_status tidings_source_options_set_once(tidings_source_options *options);

/// Whether comments are told too. They are not unless set.
///
/// Threads: one at a time.
tidings_status tidings_source_options_set_comments(tidings_source_options *options, bool wanted);

/// The largest message taken, in bytes, 16 MiB unless set. A larger one is told as TIDINGS_SOURCE_KIND_TOO_LARGE.
///
/// Threads: one at a time.
tidings_status tidings_source_options_set_message_limit(tidings_source_options *options, size_t bytes);

/// What to call itself to the server: "tidings/VERSION" unless set.
///
/// Threads: one at a time. The text is copied.
tidings_status tidings_source_options_set_user_agent(tidings_source_options *options, const char *name);

/// Certificates to trust besides those of the system, in PEM: `len` bytes at `pem`.
///
/// Threads: one at a time. The bytes are copied.
tidings_status tidings_source_options_set_ca_pem(
    tidings_source_options *options, const void *pem, size_t len);

/// The certificate to show to servers that ask for one: its chain and its key, in PEM.
///
/// Threads: one at a time. The bytes are copied.
tidings_status tidings_source_options_set_client_certificate(
    tidings_source_options *options, const void *chain_pem, size_t chain_len, const void *key_pem,
    size_t key_len);

/// The proxy, as "http://user:password@host:port", instead of what the environment says. NULL stands for none at all.
///
/// Threads: one at a time. The text is copied.
tidings_status tidings_source_options_set_proxy(tidings_source_options *options, const char *url);

/// Sets what to ask about an answer that is no event stream. Unless set, 408, 425, 429 and 5xx are tried again, and
/// everything else ends the source. It replaces the callback before it, and NULL takes that away.
///
/// Threads: one at a time; the callback runs on the thread of the source, which waits for it, and may call anything.
/// `user_data` passes to the options, until the callback is replaced, and to the sources made with them meanwhile, and is
/// dropped with the last of them.
tidings_status tidings_source_options_on_status(
    tidings_source_options *options, tidings_status_callback callback, void *user_data,
    tidings_drop_callback drop);

// ---- Event sources ----------------------------------------------------------------------------------------

/// Makes an event source, which connects at once, on a thread of its own. It reads ahead 64 events, or 1 MiB and one
/// event, and no further: then the server has to wait. `options` may be NULL.
///
/// The query of the URL is sent, and a fragment ignored. "user:password@" before the host is sent as Basic authorization,
/// unless there is a token or a header Authorization.
///
/// Threads: any. `*source` is yours: free it with tidings_source_free(). `options` are only read and stay yours. Returns
/// TIDINGS_ERR_INVALID_URL, TIDINGS_ERR_INVALID_ARGUMENT for an option that cannot be used, and TIDINGS_ERR_NETWORK when
/// the system gives no thread.
tidings_status tidings_source_new(
    const char *url, const tidings_source_options *options, tidings_source **source, tidings_error **error);

/// Waits for the next event, but not longer than `timeout_ms` milliseconds: then it returns TIDINGS_OK, and `*event` is
/// NULL. With 0 it does not wait, with a negative time-out it waits for ever.
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

/// The id that is in force after the last event that was taken, to be kept and given to
/// tidings_source_options_set_last_event_id() when the program starts again. Empty if there is none.
///
/// Threads: any. `*id` is yours: free it with tidings_string_free(). Returns TIDINGS_ERR_FORKED in a forked child.
tidings_status tidings_source_last_event_id(tidings_source *source, char **id, tidings_error **error);

/// Drops the connection, if there is one, and connects again at once, with the id of the last message. What has been read
/// already is still told. After the end it does nothing.
///
/// Threads: any. Returns TIDINGS_ERR_FORKED in a forked child.
tidings_status tidings_source_restart(tidings_source *source, tidings_error **error);

/// Closes the source: what was not taken is dropped, and whoever waits gets TIDINGS_ERR_CLOSED. It returns when its socket
/// and its thread are gone. The source still has to be freed. Closing once more does nothing.
///
/// Threads: any. Returns TIDINGS_ERR_FORKED in a forked child, and does nothing there.
tidings_status tidings_source_close(tidings_source *source, tidings_error **error);

/// Closes the source, if that has not been done, and frees it.
///
/// Threads: one at a time: no other thread may be in a call of this source, or make one later. NULL is allowed. In a
/// forked child it leaves the parent's source alone.
void tidings_source_free(tidings_source *source);

/// What the event tells.
///
/// Threads: any.
tidings_source_kind tidings_source_event_kind(const tidings_source_event *event);

/// The name of a kind in lower case, such as "message"; "unknown" for any other number. Never NULL.
///
/// Threads: any. The text is static.
const char *tidings_source_kind_name(tidings_source_kind kind);

/// The event type of a message, "message" unless the server named another; NULL for other kinds.
///
/// Threads: any. The text belongs to the event.
const char *tidings_source_event_name(const tidings_source_event *event);

/// The data of a message, or the text of a comment, with a NUL after it, and in `*len`, which may be NULL, its length
/// without that: the text may hold a NUL itself. NULL and 0 for other kinds.
///
/// Threads: any. The text belongs to the event.
const char *tidings_source_event_data(const tidings_source_event *event, size_t *len);

/// The last event id in force with a message, or "" if there is none; NULL for other kinds.
///
/// Threads: any. The text belongs to the event.
const char *tidings_source_event_id(const tidings_source_event *event);

/// With TIDINGS_SOURCE_KIND_DISCONNECTED, why.
///
/// Threads: any.
tidings_reason tidings_source_event_reason(const tidings_source_event *event);

/// With TIDINGS_SOURCE_KIND_DISCONNECTED what happened, and with TIDINGS_SOURCE_KIND_CLOSED what ended the source, with HTTP
/// status 204 if the server asked it to stop; NULL otherwise.
///
/// Threads: any. The error belongs to the event.
const tidings_error *tidings_source_event_error(const tidings_source_event *event);

/// With TIDINGS_SOURCE_KIND_DISCONNECTED, in how many milliseconds from now the source tries again; -1 otherwise.
///
/// Threads: any.
int64_t tidings_source_event_retry_in_ms(const tidings_source_event *event);

/// With TIDINGS_SOURCE_KIND_OPEN, a header of the answer; NULL when there is none or it is not text. Names are not
/// case-sensitive.
///
/// Threads: any. The text belongs to the event.
const char *tidings_source_event_header(const tidings_source_event *event, const char *name);

/// Frees an event of an event source.
///
/// Threads: one at a time. NULL is allowed.
void tidings_source_event_free(tidings_source_event *event);

// ---- Log --------------------------------------------------------------------------------------------------

/// Sets what to call with each line that the library logs, up to `level`, for all clients of the process. It replaces the
/// callback before it, and NULL takes that away. A program sets it once, or a few times.
///
/// Lines go over a queue of 1,024 to a thread that is there while a callback is; when it does not keep up, lines are
/// dropped, and a line says how many. No line has a token, a topic or a query.
///
/// Threads: any; the callback runs on a thread of its own, one line at a time, and may call anything. `user_data` passes
/// to the library, and is dropped on that thread when the callback is replaced. In a forked child there is no log until it
/// sets one. Returns TIDINGS_ERR_INVALID_ARGUMENT for a number that is no level, TIDINGS_ERR_UNSUPPORTED when a Rust
/// program has taken the process's log before, and TIDINGS_ERR_OTHER when the system gives no thread.
tidings_status tidings_log_set(
    tidings_log_level level, tidings_log_callback callback, void *user_data, tidings_drop_callback drop,
    tidings_error **error);

// ---- Version ----------------------------------------------------------------------------------------------

/// The version of the library that runs, such as "0.1.0"; that of the header is TIDINGS_VERSION. Never NULL.
///
/// Threads: any. The text is static.
const char *tidings_version(void);

#ifdef __cplusplus
}
#endif

#endif
