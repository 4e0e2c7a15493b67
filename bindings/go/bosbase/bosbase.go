// Package bosbase has the names of the BosBase Go SDK's realtime page over package tidings: a program for that page
// changes its import line.
package bosbase

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"sync"

	"tidings"
)

// BosBase is a client of one server.
type BosBase struct {
	Realtime  *Realtime
	AuthStore *AuthStore
	client    *tidings.Client
	wrong     error
}

// New makes a client. What is wrong with the URL is reported by the first call.
func New(address string) *BosBase {
	client, err := tidings.New(address)
	b := &BosBase{client: client, wrong: err}
	b.Realtime = &Realtime{owner: b}
	b.AuthStore = &AuthStore{b}
	if err == nil {
		disconnects := client.Disconnects(context.Background())
		go func() {
			for topics := range disconnects {
				if handler := b.Realtime.handler(); handler != nil {
					handler(topics)
				}
			}
		}()
	}
	return b
}

// Close ends all subscriptions.
func (b *BosBase) Close() {
	if b.client != nil {
		b.client.Close()
	}
}

// ClientResponseError is what the server refused, or why it was not reached (Status 0).
type ClientResponseError struct {
	URL           string
	Status        int
	Response      map[string]interface{}
	OriginalError error
}

func (e *ClientResponseError) Error() string { return e.OriginalError.Error() }

// Unwrap is the *tidings.Error.
func (e *ClientResponseError) Unwrap() error { return e.OriginalError }

func asResponseError(err error) error {
	var failed *tidings.Error
	if !errors.As(err, &failed) {
		return err
	}
	e := &ClientResponseError{Status: failed.Status, OriginalError: err}
	_ = json.Unmarshal(failed.Body, &e.Response)
	return e
}

// CollectionService is a collection of the server.
type CollectionService struct {
	owner *BosBase
	name  string
}

// Collection of this name.
func (b *BosBase) Collection(name string) *CollectionService { return &CollectionService{b, name} }

// Subscribe subscribes to "*", all records, or to one by its id. The callback runs on a goroutine of the subscription.
func (c *CollectionService) Subscribe(topic string, callback func(map[string]interface{}), query map[string]interface{}, headers map[string]string) (func(), error) {
	return c.owner.subscribe(&c.name, topic, callback, query, headers)
}

// Unsubscribe ends all subscriptions to a topic, or with "" all of the collection.
func (c *CollectionService) Unsubscribe(topic string) {
	if c.owner.client != nil {
		_ = c.owner.client.Collection(c.name).Unsubscribe(topic)
	}
}

// AuthWithPassword logs in. The others are those of the request: relations to expand, fields of the answer, which has to
// keep its token, and what body, query and headers have besides.
func (c *CollectionService) AuthWithPassword(identity, password, expand, fields string, body, query map[string]interface{}, headers map[string]string) (map[string]interface{}, error) {
	if c.owner.wrong != nil {
		return nil, asResponseError(c.owner.wrong)
	}
	if expand != "" || fields != "" || len(body) > 0 || len(query) > 0 || len(headers) > 0 {
		return c.logIn(identity, password, expand, fields, body, query, headers)
	}
	record, err := c.owner.client.Collection(c.name).AuthWithPassword(context.Background(), identity, password)
	if err != nil {
		return nil, asResponseError(err)
	}
	return map[string]interface{}{"token": c.owner.client.Auth().Token(), "record": object(record)}, nil
}

// logIn is a log-in for which the library's own has no room.
func (c *CollectionService) logIn(identity, password, expand, fields string, body, query map[string]interface{}, headers map[string]string) (map[string]interface{}, error) {
	var settings []tidings.RequestOption
	for name, value := range query {
		settings = append(settings, tidings.RequestQuery(name, fmt.Sprint(value)))
	}
	for name, value := range map[string]string{"expand": expand, "fields": fields} {
		if value != "" {
			settings = append(settings, tidings.RequestQuery(name, value))
		}
	}
	for name, value := range headers {
		settings = append(settings, tidings.RequestHeader(name, value))
	}
	whole := map[string]interface{}{}
	for name, value := range body {
		whole[name] = value
	}
	whole["identity"], whole["password"] = identity, password
	text, err := json.Marshal(whole)
	if err != nil {
		return nil, fmt.Errorf("AuthWithPassword: body: %w", err)
	}
	path := "/api/collections/" + url.PathEscape(c.name) + "/auth-with-password"
	response, err := c.owner.client.Send(context.Background(), "POST", path, text, settings...)
	if err != nil {
		return nil, asResponseError(err)
	}
	answer := object(response.Body)
	token, _ := answer["token"].(string)
	if token == "" {
		return nil, errors.New("AuthWithPassword: the answer has no token: with fields, name it among them")
	}
	record, err := json.Marshal(answer["record"])
	if err != nil {
		return nil, err
	}
	return answer, c.owner.client.Auth().Set(token, record)
}

func object(text []byte) map[string]interface{} {
	var found map[string]interface{}
	_ = json.Unmarshal(text, &found)
	return found
}

// Realtime has the topics that belong to no collection.
type Realtime struct {
	// Called with the topics that are still subscribed when a stream is gone. Set it before the first subscription.
	OnDisconnect func(activeSubscriptions []string)
	owner        *BosBase
}

func (r *Realtime) handler() func([]string) { return r.OnDisconnect }

// Subscribe subscribes to any topic.
func (r *Realtime) Subscribe(topic string, callback func(map[string]interface{}), query map[string]interface{}, headers map[string]string) (func(), error) {
	return r.owner.subscribe(nil, topic, callback, query, headers)
}

// Unsubscribe ends all subscriptions to a topic, or with "" all of the client.
func (r *Realtime) Unsubscribe(topic string) {
	if r.owner.client != nil {
		_ = r.owner.client.Realtime().Unsubscribe(topic)
	}
}

// AuthStore is who the client is.
type AuthStore struct{ owner *BosBase }

// Record is the user's record; nil for a guest.
func (a *AuthStore) Record() map[string]interface{} {
	if a.owner.client == nil {
		return nil
	}
	return object(a.owner.client.Auth().Record())
}

// Token is the token; "" for a guest.
func (a *AuthStore) Token() string {
	if a.owner.client == nil {
		return ""
	}
	return a.owner.client.Auth().Token()
}

func (b *BosBase) subscribe(collection *string, topic string, callback func(map[string]interface{}), query map[string]interface{}, headers map[string]string) (func(), error) {
	if b.wrong != nil {
		return nil, asResponseError(b.wrong)
	}
	var options []tidings.SubscribeOption
	for name, value := range query {
		text, isText := value.(string)
		if !isText {
			text = fmt.Sprint(value)
		}
		options = append(options, tidings.Query(name, text))
	}
	for name, value := range headers {
		options = append(options, tidings.Header(name, value))
	}
	ctx := context.Background()
	var s *tidings.Subscription
	var err error
	if collection != nil {
		s, err = b.client.Collection(*collection).Subscribe(ctx, topic, options...)
	} else {
		s, err = b.client.Realtime().Subscribe(ctx, topic, options...)
	}
	if err != nil {
		return nil, asResponseError(err)
	}
	go func() {
		for event, err := range s.Events(ctx) {
			if err != nil {
				return
			}
			// Notices have no payload, and the page knows none.
			if event.Data() != "" {
				callback(object([]byte(event.Data())))
			}
		}
	}()
	var once sync.Once
	return func() { once.Do(s.Unsubscribe) }, nil
}
