# Copyright The devicecert-operator Authors.
# SPDX-License-Identifier: Apache-2.0

ARG BUILDER=golang:1.26
ARG BASE=gcr.io/distroless/static:nonroot

# Go compiles for every platform on the builder's own.
FROM --platform=${BUILDPLATFORM:-linux/amd64} ${BUILDER} AS build
ARG TARGETOS=linux
ARG TARGETARCH
# v7 for linux/arm/v7.
ARG TARGETVARIANT
ARG VERSION=dev
WORKDIR /src
COPY go.mod go.sum ./
RUN go mod download
COPY api api
COPY cmd/manager cmd/manager
COPY controllers controllers
COPY internal internal
RUN CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} GOARM=${TARGETVARIANT#v} \
    go build -trimpath -ldflags="-s -X main.version=${VERSION}" -o /manager ./cmd/manager

# For rehearsals: --target simulator.
FROM build AS build-simulator
COPY cmd/simulator cmd/simulator
RUN CGO_ENABLED=0 GOOS=${TARGETOS} GOARCH=${TARGETARCH} GOARM=${TARGETVARIANT#v} \
    go build -trimpath -ldflags="-s" -o /simulator ./cmd/simulator

FROM ${BASE} AS simulator
COPY --from=build-simulator /simulator /simulator
USER 65532:65532
ENTRYPOINT ["/simulator"]

# The operator, which a build without a target makes.
FROM ${BASE}
COPY --from=build /manager /manager
# A number, so that runAsNonRoot can be checked without the image's /etc/passwd.
USER 65532:65532
ENTRYPOINT ["/manager"]
