# The two commands a newcomer needs are `make run` and `make test`.
.DEFAULT_GOAL := help
.PHONY: help run test build bench bench-full soak lint install

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

help:            ## show this list
	@sed -n 's/^\([a-z-]*\): .*## /\1\t/p' Makefile | expand -t 12

run: install build ## a private Redis, Postgres and proxy on this machine, with bots working through it
	@exec bin/credproxy dev

test: install    ## vet and all tests; the pure and concurrent packages again under the race detector
	go vet ./...
	go test -timeout 14m -p 2 ./...
	go test -timeout 4m -race ./keyspace/... ./lru/... ./internal/poll/... ./internal/resp/... ./cmd/credproxy/config/...

build:           ## bin/credproxy
	go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/credproxy ./cmd/credproxy

BENCH := go run ./bench
PEERS := direct,credproxy,nutcracker,haproxy

bench: install   ## compare Redis, the proxy and installed peers, in two minutes
	@mkdir -p bin
	$(BENCH) --targets $(PEERS) --loads get --clients 50,500 --pipeline 1,16 --duration 1s --warmup 200ms --json bin/bench.json --html bin/bench.html

bench-full: install ## everything that bench/ can measure, in more than an hour; reports are in bin/
	@mkdir -p bin
	$(BENCH) --targets $(PEERS) --loads get,set,mix,bots,bots-string --size 256,16384 --json bin/bench-loads.json --html bin/bench-loads.html
	$(BENCH) --targets $(PEERS) --loads get --clients 50,500 --pipeline 1 --rate 20000 --json bin/bench-rate.json --html bin/bench-rate.html
	$(BENCH) --targets direct,credproxy,credproxy:limited --loads storm,cold,bots-cold10 --clients 50 --pipeline 1 --duration 5s --json bin/bench-cold.json --html bin/bench-cold.html
	$(BENCH) --targets $(PEERS) --loads save,large --duration 5s --json bin/bench-others.json --html bin/bench-others.html
	$(BENCH) --targets direct,direct:tls,credproxy,credproxy:tls,credproxy:tls-both --loads get --json bin/bench-tls.json --html bin/bench-tls.html
	$(BENCH) --targets $(PEERS),credproxy:tls --memory --json bin/bench-memory.json --html bin/bench-memory.html
	$(BENCH) --restore --json bin/bench-restore.json
	$(BENCH) --restart --targets credproxy --rounds 9

SOAK ?= --duration 30m --each 200 --seed 1

soak: install    ## kill, freeze and cut everything while every history is checked; SOAK="--duration 5m --seed 7" to change
	go run ./soak $(SOAK)

lint:            ## formatting, vet, staticcheck
	@test -z "$$(gofmt -l .)" || { echo "not formatted, run gofmt -w:"; gofmt -l .; exit 1; }
	go vet ./...
	go tool staticcheck ./...

install:         ## redis-server and PostgreSQL, when they are missing
	@scripts/install.sh
