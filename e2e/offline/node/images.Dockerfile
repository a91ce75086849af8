# The images that kubeadm asks for, a stage each. ../images.sh gives them the names kubeadm knows.
# The context is a staging folder: the binaries, and a tree with iptables.

# One layer for etcd and the control plane: kubeadm calls each by its name, a link to the one binary.
FROM scratch AS control-plane
ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin
COPY kube/ /usr/local/bin/

# On top of that layer, which so is in the node once.
FROM control-plane AS kube-proxy
ADD iptables.tar /

FROM scratch AS coredns
COPY coredns /coredns
ENTRYPOINT ["/coredns"]

# busybox looks at its own name as well: called "pause" it says "applet not found", and every pod dies with it.
FROM scratch AS pause
COPY busybox /busybox
ENTRYPOINT ["/busybox", "sleep", "2147483647"]

# The network of pods, on the layers of kube-proxy, which have iptables, ipset and ip.
FROM kube-proxy AS kube-router
COPY kube-router /usr/local/bin/
ENTRYPOINT ["kube-router"]

# The commands are those of the pods that make and remove the folders of volumes.
FROM pause AS local-path-provisioner
ENV PATH=/bin
COPY commands/ local-path-provisioner /bin/
ENTRYPOINT ["local-path-provisioner"]
