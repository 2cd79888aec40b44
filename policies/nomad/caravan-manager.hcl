# Bound to the job caravan-manager: sessions' jobs in their namespace, and looking at nodes. Nothing else, and above
# all no host volumes and no ACLs.
namespace "caravan" {
  capabilities = ["list-jobs", "parse-job", "read-job", "submit-job", "read-logs", "alloc-lifecycle"]
}
node {
  policy = "read"
}
node_pool "*" {
  policy = "read"
}
