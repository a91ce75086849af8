# The binary is built outside (`make build`, static), so that the image needs nothing that has to be pulled. It is all that
# the image holds: no shell, and no CA certificates, as the only one who is spoken to by TLS is the apiserver, whose CA
# Kubernetes mounts.
FROM scratch
COPY bitcoin-controller /bitcoin-controller
USER 65532:65532
ENTRYPOINT ["/bitcoin-controller"]
