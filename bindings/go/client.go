// Package tidings is a realtime client for PocketBase, BosBase and RustBaaS servers. It keeps its subscriptions through
// reconnects, expired tokens and restarted servers, and says where changes may have been missed.
//
//	client, err := tidings.New("http://127.0.0.1:8090")
//	if err != nil {
//		return err
//	}
//	defer client.Close()
//	posts, err := client.Collection("posts").Subscribe(ctx, "*")
//	if err != nil {
//		return err
//	}
//	for event, err := range posts.Events(ctx) {
//		if err != nil {
//			return err
//		}
//		fmt.Println(event.Action, event.ID)
//	}
//
// All functions may be called from any goroutine. Handlers run on goroutines of their own, never in a callback of C.
package tidings

/*
#include <stdlib.h>
#include <tidings.h>

static tidings_status go_send(tidings_client *client, const char *method, const char *path, const char *body,
		const tidings_request_options *options, uintptr_t token, uint64_t *id, tidings_error **error) {
	return tidings_client_send_async(client, method, path, body, options, (void *)token, NULL, id, error);
}
static tidings_status go_log_in(tidings_client *client, const char *collection, const char *identity,
		const char *password, uintptr_t token, uint64_t *id, tidings_error **error) {
	return tidings_client_auth_with_password_async(client, collection, identity, password, (void *)token, NULL, id, error);
}
static tidings_status go_refresh(tidings_client *client, const char *collection, uintptr_t token, uint64_t *id,
		tidings_error **error) {
	return tidings_client_auth_refresh_async(client, collection, (void *)token, NULL, id, error);
}
*/
import "C"

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"unsafe"
)

// Client is a client of one server: one connection that all its subscriptions share. Close it when it is no longer used.
type Client struct {
	// Held for reading by calls into C, and for writing by whoever frees what they use.
	alive sync.RWMutex
	ptr   *C.tidings_client
	bell  *os.File
	// Closed when the pump has ended: nothing is delivered any more.
	done   chan struct{}
	logger *slog.Logger

	mu            sync.Mutex
	last          uintptr
	subscriptions map[uintptr]*Subscription
	views         map[uintptr]*View
	calls         map[uintptr]chan completion
	states        watchers[State]
	disconnects   watchers[[]string]
}

type settings struct {
	options *C.tidings_client_options
	logger  *slog.Logger
	status  C.tidings_status
}

// Option is a setting of a client.
type Option func(*settings)

// WithToken sets the token to begin with.
func WithToken(token string) Option {
	return func(s *settings) {
		text := C.CString(token)
		defer C.free(unsafe.Pointer(text))
		s.check(C.tidings_client_options_set_token(s.options, text))
	}
}

// WithHeader adds a header to each request.
func WithHeader(name, value string) Option {
	return func(s *settings) {
		key, text := C.CString(name), C.CString(value)
		defer C.free(unsafe.Pointer(key))
		defer C.free(unsafe.Pointer(text))
		s.check(C.tidings_client_options_add_header(s.options, key, text))
	}
}

// WithLogger logs changes of the connection.
func WithLogger(logger *slog.Logger) Option {
	return func(s *settings) { s.logger = logger }
}

func (s *settings) check(status C.tidings_status) {
	if s.status == C.TIDINGS_OK {
		s.status = status
	}
}

// New makes a client. It connects with the first subscription. The URL is that of the server, without "/api".
func New(url string, options ...Option) (*Client, error) {
	s := &settings{options: C.tidings_client_options_new()}
	defer C.tidings_client_options_free(s.options)
	C.tidings_client_options_set_notices(s.options, true)
	for _, option := range options {
		option(s)
	}
	if s.status != C.TIDINGS_OK {
		return nil, &Error{Code: Code(s.status), Message: "invalid option"}
	}
	c := &Client{
		done: make(chan struct{}), logger: s.logger,
		subscriptions: map[uintptr]*Subscription{}, views: map[uintptr]*View{}, calls: map[uintptr]chan completion{},
	}
	text := C.CString(url)
	defer C.free(unsafe.Pointer(text))
	var failed *C.tidings_error
	C.tidings_client_new(text, s.options, &c.ptr, &failed)
	if failed != nil {
		return nil, take(failed)
	}
	bell, err := polled(int(C.tidings_client_fd(c.ptr)))
	if err != nil {
		C.tidings_client_free(c.ptr)
		return nil, err
	}
	c.bell = bell
	go c.pump()
	return c, nil
}

// Close ends all subscriptions, and calls that wait fail with ErrClosed. It returns within a second. Closing again does
// nothing.
func (c *Client) Close() {
	c.alive.RLock()
	if c.ptr != nil {
		C.tidings_client_close(c.ptr, nil)
	}
	c.alive.RUnlock()
	<-c.done
	c.alive.Lock()
	defer c.alive.Unlock()
	if c.ptr != nil {
		C.tidings_client_free(c.ptr)
		c.ptr = nil
		c.bell.Close()
	}
}

// call makes a call into C that returns at once; its texts live as long as the call.
func (c *Client) call(call func(ptr *C.tidings_client, text func(string) *C.char, failed **C.tidings_error)) error {
	c.alive.RLock()
	defer c.alive.RUnlock()
	if c.ptr == nil {
		return ErrClosed
	}
	var texts []*C.char
	defer func() {
		for _, text := range texts {
			C.free(unsafe.Pointer(text))
		}
	}()
	text := func(s string) *C.char {
		texts = append(texts, C.CString(s))
		return texts[len(texts)-1]
	}
	var failed *C.tidings_error
	call(c.ptr, text, &failed)
	if failed != nil {
		return take(failed)
	}
	return nil
}

// completion is what a call came to.
type completion struct {
	response *Response
	record   string
	err      error
}

type begin func(ptr *C.tidings_client, text func(string) *C.char, token C.uintptr_t, id *C.uint64_t, failed **C.tidings_error)

// wait makes a call that takes time, and cancels it with the context.
func (c *Client) wait(ctx context.Context, begin begin) (completion, error) {
	if err := context.Cause(ctx); err != nil {
		return completion{}, err
	}
	answered := make(chan completion, 1)
	c.mu.Lock()
	c.last++
	token := c.last
	c.calls[token] = answered
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.calls, token)
		c.mu.Unlock()
	}()
	var id C.uint64_t
	err := c.call(func(ptr *C.tidings_client, text func(string) *C.char, failed **C.tidings_error) {
		begin(ptr, text, C.uintptr_t(token), &id, failed)
	})
	if err != nil {
		return completion{}, err
	}
	select {
	case done := <-answered:
		return done, done.err
	case <-c.done:
		return completion{}, ErrClosed
	case <-ctx.Done():
		_ = c.call(func(ptr *C.tidings_client, _ func(string) *C.char, failed **C.tidings_error) {
			C.tidings_client_cancel(ptr, id, nil, failed)
		})
		return completion{}, context.Cause(ctx)
	}
}

// Response is the response to a request.
type Response struct {
	Status int
	Body   []byte
}

// RequestOption is a setting of a request.
type RequestOption func(*C.tidings_request_options) C.tidings_status

// RequestQuery adds a parameter to the query.
func RequestQuery(name, value string) RequestOption {
	return func(options *C.tidings_request_options) C.tidings_status {
		return with([]string{name, value}, func(t []*C.char) C.tidings_status {
			return C.tidings_request_options_add_query(options, t[0], t[1])
		})
	}
}

// RequestHeader adds a header.
func RequestHeader(name, value string) RequestOption {
	return func(options *C.tidings_request_options) C.tidings_status {
		return with([]string{name, value}, func(t []*C.char) C.tidings_status {
			return C.tidings_request_options_add_header(options, t[0], t[1])
		})
	}
}

// Send makes one request with the client's token. The path is relative to the server's URL; body is JSON, or nil.
// A status other than 200 to 299 is an *Error.
func (c *Client) Send(ctx context.Context, method, path string, body []byte, settings ...RequestOption) (*Response, error) {
	options := C.tidings_request_options_new()
	defer C.tidings_request_options_free(options)
	for _, set := range settings {
		if status := set(options); status != C.TIDINGS_OK {
			return nil, &Error{Code: Code(status), Message: "invalid option of a request"}
		}
	}
	done, err := c.wait(ctx, func(ptr *C.tidings_client, text func(string) *C.char, token C.uintptr_t, id *C.uint64_t, failed **C.tidings_error) {
		var json *C.char
		if body != nil {
			json = text(string(body))
		}
		C.go_send(ptr, text(method), text(path), json, options, token, id, failed)
	})
	return done.response, err
}

// Collection is a collection of the server.
type Collection struct {
	client *Client
	name   string
}

// Collection of this name.
func (c *Client) Collection(name string) Collection { return Collection{c, name} }

// AuthWithPassword logs in. The client then acts as that user, whose record it returns as JSON.
func (c Collection) AuthWithPassword(ctx context.Context, identity, password string) ([]byte, error) {
	done, err := c.client.wait(ctx, func(ptr *C.tidings_client, text func(string) *C.char, token C.uintptr_t, id *C.uint64_t, failed **C.tidings_error) {
		C.go_log_in(ptr, text(c.name), text(identity), text(password), token, id, failed)
	})
	return []byte(done.record), err
}

// AuthRefresh gets a new token for the user of the current one, whose record it returns as JSON.
func (c Collection) AuthRefresh(ctx context.Context) ([]byte, error) {
	done, err := c.client.wait(ctx, func(ptr *C.tidings_client, text func(string) *C.char, token C.uintptr_t, id *C.uint64_t, failed **C.tidings_error) {
		C.go_refresh(ptr, text(c.name), token, id, failed)
	})
	return []byte(done.record), err
}

// Subscribe subscribes to "*", all records, or to one by its id, and waits until the server has acknowledged or
// refused the topic, or the context is done.
func (c Collection) Subscribe(ctx context.Context, topic string, options ...SubscribeOption) (*Subscription, error) {
	return c.client.subscribe(ctx, &c.name, topic, options)
}

// On subscribes as Subscribe does, and passes each event to the handler, one at a time, on a goroutine of its own,
// until the context is done.
func (c Collection) On(ctx context.Context, topic string, handler func(*Event), options ...SubscribeOption) error {
	return on(ctx, handler)(c.Subscribe(ctx, topic, options...))
}

// Unsubscribe ends all subscriptions to a topic of the collection, or with "" all of it.
func (c Collection) Unsubscribe(topic string) error {
	return c.client.call(func(ptr *C.tidings_client, text func(string) *C.char, failed **C.tidings_error) {
		var one *C.char
		if topic != "" {
			one = text(topic)
		}
		C.tidings_client_unsubscribe_collection(ptr, text(c.name), one, nil, failed)
	})
}

// Realtime has the topics that belong to no collection.
type Realtime struct{ client *Client }

// Realtime of the client.
func (c *Client) Realtime() Realtime { return Realtime{c} }

// Subscribe subscribes to any topic, such as PB_CONNECT or one of a server hook.
func (r Realtime) Subscribe(ctx context.Context, topic string, options ...SubscribeOption) (*Subscription, error) {
	return r.client.subscribe(ctx, nil, topic, options)
}

// On is Collection.On for any topic.
func (r Realtime) On(ctx context.Context, topic string, handler func(*Event), options ...SubscribeOption) error {
	return on(ctx, handler)(r.Subscribe(ctx, topic, options...))
}

// Unsubscribe ends all subscriptions to a topic, or with "" all of the client.
func (r Realtime) Unsubscribe(topic string) error {
	return r.client.call(func(ptr *C.tidings_client, text func(string) *C.char, failed **C.tidings_error) {
		if topic == "" {
			C.tidings_client_unsubscribe_all(ptr, nil, failed)
		} else {
			C.tidings_client_unsubscribe_topic(ptr, text(topic), nil, failed)
		}
	})
}

// Auth is who the client is.
type Auth struct{ client *Client }

// Auth of the client.
func (c *Client) Auth() Auth { return Auth{c} }

// Set sets the token and its record as JSON, or nil. It takes effect on its own, also for live subscriptions.
func (a Auth) Set(token string, record []byte) error {
	return a.client.call(func(ptr *C.tidings_client, text func(string) *C.char, failed **C.tidings_error) {
		var json *C.char
		if record != nil {
			json = text(string(record))
		}
		C.tidings_client_set_token(ptr, text(token), json, failed)
	})
}

// Clear makes the client a guest.
func (a Auth) Clear() error {
	return a.client.call(func(ptr *C.tidings_client, _ func(string) *C.char, failed **C.tidings_error) {
		C.tidings_client_set_token(ptr, nil, nil, failed)
	})
}

// Token is the token, or "" for a guest.
func (a Auth) Token() string {
	return a.text(func(ptr *C.tidings_client, text **C.char, failed **C.tidings_error) {
		C.tidings_client_token(ptr, text, failed)
	})
}

// Record is the user's record as JSON, or nil.
func (a Auth) Record() []byte {
	record := a.text(func(ptr *C.tidings_client, text **C.char, failed **C.tidings_error) {
		C.tidings_client_auth_record(ptr, text, failed)
	})
	if record == "" {
		return nil
	}
	return []byte(record)
}

func (a Auth) text(get func(ptr *C.tidings_client, text **C.char, failed **C.tidings_error)) string {
	var text *C.char
	_ = a.client.call(func(ptr *C.tidings_client, _ func(string) *C.char, failed **C.tidings_error) {
		get(ptr, &text, failed)
	})
	defer C.tidings_string_free(text)
	return C.GoString(text)
}

// Threads is the number of threads that the library has in this process.
func Threads() int { return int(C.tidings_thread_count()) }
