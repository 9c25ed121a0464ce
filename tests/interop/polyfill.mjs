// libp2p 3 is written for Node 22; this is the one thing of it that Node 20 lacks. Import it before libp2p.
Promise.withResolvers ??= function () {
  let resolve, reject
  const promise = new this((yes, no) => {
    resolve = yes
    reject = no
  })
  return { promise, resolve, reject }
}
