//! tidings: a realtime client for PocketBase, BosBase and RustBaaS servers, and for any stream of server-sent events.
//!
//!     static void on_event(const tidings_event *event, void *user_data) {
//!         (void)user_data;
//!         const char *record = tidings_event_record(event);
//!         printf("%s %s\n", tidings_action_name(tidings_event_action(event)), record ? record : "");
//!     }
//!
//!     int main(void) {
//!         tidings_client *client = NULL;
//!         tidings_error *error = NULL;
//!         if (tidings_client_new("http://127.0.0.1:8090", NULL, &client, &error) == TIDINGS_OK
//!             && tidings_client_subscribe(client, "posts", "*", NULL, on_event, NULL, NULL, NULL, &error) == TIDINGS_OK)
//!             getchar(); // meanwhile on_event is called, on a thread of the client
//!         if (error) fprintf(stderr, "%s\n", tidings_error_message(error));
//!         tidings_error_free(error);
//!         tidings_client_free(client);
//!     }
//!
//! Defaults
//!     Unless a function says otherwise:
//!     - Setters of options (tidings_..._options_set_..., _add_..., _on_...): one thread at a time. Texts and bytes are
//!       copied. They return TIDINGS_ERR_NULL_ARGUMENT or TIDINGS_ERR_INVALID_UTF8; a value that cannot be used is reported
//!       by the function that takes the options.
//!     - ..._free: one thread at a time. NULL is allowed.
//!     - ..._name of a number: any thread. It returns static text in lower case, never NULL, and "unknown" for a number that
//!       is not in the enumeration.
//!     - Functions that read an event, error, state, response, list, rows or changes: any thread. What they return belongs to that object.
//!
//! Threads
//!     Each client has a thread for its I/O, and a second one, started with the first callback, that runs callbacks: one at a
//!     time, in order. So a callback may block without stalling the connection, but it delays the other callbacks of its
//!     client. It may call every function of this header, including those that close or free its client.
//!     "Threads: any" means that a function may be called from every thread and every callback, even while other threads use
//!     the same object. "Threads: one at a time" means from every thread and callback, but not while another thread uses the
//!     same object. Freeing an object is always its last use, by any thread. No result depends on the calling thread: there is
//!     no last error per thread, nor anything like it.
//!     The library starts these threads, and no others; tidings_thread_count() counts them:
//!         tidings            one for each client and each event source: its I/O
//!         tidings-callbacks  one for each client with a callback (Linux shows the first 15 characters of the name)
//!         tidings-resolve    one for each DNS lookup, while it lasts
//!         tidings-token      one for each token request, while the token callback runs
//!         tidings-connect    one for each connection of an event source with a connect callback, while that runs
//!         tidings-log        one while a log callback is set
//!     They block all signals but SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP and SIGABRT. So signals go to your own threads, and
//!     sigwait() works. A process started by a callback inherits that signal mask: reset it, for example with
//!     posix_spawnattr_setsigmask().
//!
//! Ownership
//!     What a function named ..._new, _clone, _next, _rows or _send returns, or puts into an argument `type **`, is yours: free it
//!     with the function of that type whose name ends in _free. Pointers to const are borrowed: they are valid as long as the
//!     object that they came from, or, for the arguments of a callback, until the callback returns. Free a `char *` that is not
//!     const with tidings_string_free(). What you pass in is read during the call and not kept, except `user_data`.
//!     Each callback comes with a pointer `user_data` and a function `drop`, either of which may be NULL. The library calls
//!     drop(user_data) exactly once, when the callback can no longer be called: also when the function that took it fails,
//!     before that returns, and also when the callback is NULL; see tidings_client_subscribe() for what the queue does with it. `drop` may run on any thread, never at the same time as the
//!     callback, and may call anything. In a forked child it is not called.
//!
//! Errors
//!     A function that can fail returns a tidings_status. Its last argument `error` may be NULL; otherwise `*error` is set to
//!     a tidings_error, which is yours, or to NULL on success. It need not be initialised. After a failure, the other results
//!     are NULL or 0. Functions without a status return NULL, 0, -1 or false for NULL.
//!     NULL where it is not allowed, text that is not UTF-8, a number that is not in an enumeration and a closed client are
//!     reported by a status. A pointer to freed or foreign memory cannot be detected.
//!     What happens to the connection later is not an error of a call: the client reconnects and reports it, see
//!     tidings_action and tidings_state. It never gives up on a failing network, and never retries what the server has refused
//!     for good. No error, log line or text of a state contains a token, a password or the query of a URL.
//!
//! Text
//!     All text is UTF-8 and ends with a NUL. Where it may itself contain a NUL, its length is available too.
//!
//! Panics and exceptions
//!     If a bug of the library makes Rust panic, the call returns TIDINGS_ERR_PANIC with the panic's message, which is also
//!     printed to stderr, and the process continues. In the other direction nothing may pass: if a C++ exception or a
//!     longjmp() leaves a callback, the behaviour is undefined or the process ends. With the classes of tidings.hpp, an
//!     exception that leaves a callback goes to the handler set by tidings::on_exception(); by default that ends the process.
//!
//! Fork
//!     Threads do not survive fork(). In the child, every call with an object of the parent returns TIDINGS_ERR_FORKED, and
//!     freeing one is harmless: it leaves the memory and the parent's connection alone. A new client works in the child.
//!     Between fork() and exec() only async-signal-safe functions may be called, so none of this header.
//!
//! Valgrind
//!     With --leak-check=full, valgrind reports 48 bytes as "possibly lost", once per process: Rust's own handle of a thread,
//!     kept in thread-local storage, to which valgrind sees only an interior pointer. tests/c/valgrind.supp, installed as
//!     share/tidings/valgrind.supp, suppresses that: valgrind --suppressions=PREFIX/share/tidings/valgrind.supp.
//!
//! Versions
//!     Functions, values of enumerations and fields at the end of tidings_stats may be added; nothing is removed or changes
//!     its meaning while the soname is libtidings.so.0. Handle values that you do not know.

// What the functions stand on, each only on those before it.
mod text;
mod failure;
mod border;
mod settings;
mod handle;
// Functions, in the order of the header.
mod error;
mod strings;
mod client_options;
mod token_request;
mod client;
mod state;
mod subscription;
mod event;
mod batch;
mod packed;
mod auth;
mod request;
mod calls;
mod watch_options;
mod view;
mod filter;
mod stats;
mod source_options;
mod source;
mod log;
mod threads;
mod version;
