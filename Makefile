# The two commands a newcomer needs are `make run` and `make test`.
.DEFAULT_GOAL := help
.PHONY: help run test build bench soak lint install

VERSION := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)

help:            ## show this list
	@sed -n 's/^\([a-z]*\): .*## /\1\t/p' Makefile | expand -t 12

run: install     ## a private Redis, Postgres and proxy on this machine, with bots working through it
	@go build -o bin/credproxy ./cmd/credproxy && exec bin/credproxy dev

test: install    ## vet and all tests; the pure and concurrent packages again under the race detector
	go vet ./...
	go test -timeout 10m -p 2 ./...
	go test -timeout 4m -race ./keyspace/... ./lru/... ./internal/resp/... ./cmd/credproxy/config/...

build:           ## bin/credproxy
	go build -trimpath -ldflags "-s -w -X main.version=$(VERSION)" -o bin/credproxy ./cmd/credproxy

bench: install   ## compare Redis, the proxy and installed peers
	go run ./bench

SOAK ?= --duration 30m --each 200 --seed 1

soak: install    ## kill, freeze and cut everything while every history is checked; SOAK="--duration 5m --seed 7" to change
	go run ./soak $(SOAK)

lint:            ## formatting, vet, staticcheck
	@test -z "$$(gofmt -l .)" || { echo "not formatted, run gofmt -w:"; gofmt -l .; exit 1; }
	go vet ./...
	go tool staticcheck ./...

install:         ## redis-server and PostgreSQL, when they are missing
	@scripts/install.sh
