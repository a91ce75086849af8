# The binary is built outside (`make build`, static), so that the image needs nothing that has to be pulled.
FROM scratch
COPY bitcoin-controller /bitcoin-controller
USER 65532:65532
ENTRYPOINT ["/bitcoin-controller"]
