//! tidings: a realtime client for PocketBase, BosBase and RustBaaS servers, and for any stream of server-sent events.
//!
//!     tidings_client *client = NULL;
//!     tidings_error *error = NULL;
//!     if (tidings_client_new("http://127.0.0.1:8090", NULL, &client, &error) == TIDINGS_OK
//!         && tidings_client_subscribe(client, "posts", "*", NULL, on_event, NULL, NULL, NULL, &error) == TIDINGS_OK)
//!         getchar(); // on_event is called meanwhile, on a thread of the client
//!     if (error) fprintf(stderr, "%s\n", tidings_error_message(error));
//!     tidings_error_free(error);
//!     tidings_client_free(client);
//!
//! Threads
//!     Each client has a thread that does its I/O, and a second one, started with the first callback, that runs
//!     callbacks: one at a time, in order. So a callback may block without stalling the connection, and may call every
//!     function of this header, those included that close or free the client it belongs to.
//!     These are all the threads that the library starts; tidings_thread_count() counts them:
//!         tidings            one per client from tidings_client_new() on, and one per event source: I/O
//!         tidings-callbacks  one per client from the first callback on (the system may show 15 characters of the name)
//!         tidings-resolve    one per name lookup, while it lasts
//!         tidings-token      one per token request, while the token callback runs
//!         tidings-log        one while a log callback is set
//!     All of them block all signals but those of their own faults (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT), so
//!     signals go to your threads, and sigwait() gets its own. A process that a callback starts inherits the blocked mask:
//!     reset it, with posix_spawnattr_setsigmask() for example.
//!     "Threads: any" means that a function may be called from every thread and from every callback, also while other
//!     threads use the same object. "Threads: one at a time" means from every thread and callback, but not while
//!     another thread uses the same object. Freeing an object is always the last use of it, by any thread. No result
//!     depends on which thread asks: there is no last error per thread, nor anything else of that kind.
//!
//! Ownership
//!     What a function named ..._new, _clone, _next or _send, or one with an argument `type **`, has given is yours,
//!     and goes back to the function of that type whose name ends in _free, which takes NULL too. Pointers to const are
//!     borrowed: they hold as long as the object that they came from, or, for the arguments of a callback, until the
//!     callback returns. A `char *` that is not const goes to tidings_string_free(). What you pass in is read during
//!     the call and never kept, but for `user_data`.
//!     With each callback goes a pointer `user_data`, which may be NULL, and a function `drop`, which may be NULL. The
//!     library calls drop(user_data) exactly once, when the callback cannot be called any more: also when the function
//!     that it was passed to fails, then before that returns, and also when the callback was NULL. It may come on any
//!     thread, never at the same time as the callback, and may itself call anything. Only a forked child never sees it.
//!
//! Failure
//!     A function that can fail returns a tidings_status. A last argument `error` may be NULL; otherwise `*error` is set
//!     to a tidings_error, which is yours, or to NULL on success. It need not be initialised. When a function fails, what
//!     it should have given is set to NULL or 0. Functions without a status answer NULL with NULL, 0, -1 or false.
//!     A NULL that an argument does not allow, text that is no UTF-8, a number that is in no enumeration and a closed
//!     client are answered with a status. A pointer to freed or foreign memory cannot be.
//!     What happens to the connection later is no failure of a call: the client reconnects and says so, see
//!     tidings_action and tidings_state. It never gives up on a network that fails, nor retries what the server has
//!     refused for good. No error, no log line and no text of a state holds a token, a password or the query of a URL.
//!
//! Text
//!     All text is UTF-8 and ends with a NUL. Where it may hold a NUL itself, its length is given too. Two functions give
//!     bytes that NO NUL ends, and their length: tidings_event_data() and tidings_error_body(). Print those with
//!     printf("%.*s", (int)len, data).
//!
//! Panics and exceptions
//!     Should the library have a bug that makes Rust panic, the call returns TIDINGS_ERR_PANIC and the message of the
//!     panic, which is also printed to stderr; the process goes on. The other way round nothing may pass: a C++
//!     exception or a longjmp() that leaves a callback is undefined or ends the process. The classes of tidings.hpp
//!     stop exceptions by themselves.
//!
//! Fork
//!     Threads do not survive fork(). In the child every call with an object of the parent returns TIDINGS_ERR_FORKED,
//!     and freeing one is harmless: it leaves its memory alone, and the parent's connection too. A new client works in
//!     the child. Between fork() and exec() only what is async-signal-safe may be called, so nothing of this header.
//!
//! Valgrind
//!     With --leak-check=full it reports 48 bytes as "possibly lost", once per process: Rust's own handle of a thread, kept
//!     in thread-local storage, of which valgrind sees only a pointer into it. tests/c/valgrind.supp, installed as
//!     share/tidings/valgrind.supp, suppresses that: valgrind --suppressions=PREFIX/share/tidings/valgrind.supp.
//!
//! Versions
//!     Functions, values of enumerations and fields at the end of tidings_stats may be added; nothing is taken away or
//!     changes its meaning while the soname is libtidings.so.0. Be ready for values that you do not know.

// What the functions stand on, each only on those before it.
mod text;
mod failure;
mod border;
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
mod auth;
mod request;
mod filter;
mod stats;
mod source_options;
mod source;
mod log;
mod threads;
mod version;
