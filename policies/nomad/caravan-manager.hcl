# Bound to the job caravan-manager: sessions' jobs in their namespace. Nothing else, and above all no nodes, no host
# volumes and no ACLs.
namespace "caravan" {
  capabilities = ["list-jobs", "read-job", "submit-job", "alloc-lifecycle"]
}
