module bench

go 1.23

require tidings v0.0.0

replace tidings => ../../bindings/go
