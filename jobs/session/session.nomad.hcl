# The skeleton of every session's job. The compiler lays IDs and numbers over it: one copy of the group for each kernel,
# pinned to its node, with image, resources, network, mounts and labels in the task `main`. What stands here is an
# operator's to change; task names are the compiler's.

job "session" {
  namespace   = "caravan"
  type        = "batch"
  node_pool   = "all"
  datacenters = ["*"]

  group "kernel" {
    # A session that ends stays ended: Nomad must never run it again by itself.
    restart {
      attempts = 0
      mode     = "fail"
    }

    reschedule {
      attempts  = 0
      unlimited = false
    }

    disconnect {
      lost_after = "10m"
      replace    = false
      reconcile  = "keep_original"
    }

    # Only the log of the clean-up is here; users' files are in the agent's scratch folders.
    ephemeral_disk {
      size = 64
    }

    task "main" {
      driver       = "docker"
      kill_timeout = "10s"

      config {
        image      = ""
        entrypoint = ["/opt/kernel/entrypoint.sh"]
        work_dir   = "/home/work"
        init       = true

        # A fork bomb ends in its container, and no setuid program gives root back.
        pids_limit   = 4096
        security_opt = ["no-new-privileges"]

        # So that an agent that comes back can read the log again from its beginning.
        logging {
          type = "json-file"
          config {
            max-size = "10m"
            max-file = "2"
          }
        }
      }

      # Whatever user an image names: the entrypoint makes the user `work` and gives root up.
      user = "root"

      resources {
        cpu    = 100
        memory = 64
      }

      # The agent reads the container's log from Docker; Nomad's two processes that would copy it are not started.
      logs {
        disabled      = true
        max_files     = 1
        max_file_size = 1
      }
    }

    # Tells the agent that the kernel is over, and waits until nothing of it is left on the node, its container included.
    task "cleanup" {
      driver = "raw_exec"

      lifecycle {
        hook = "poststop"
      }

      config {
        command = "python3"
        args    = ["-I", "-S", "${meta.caravan_hook}", "cleanup"]
      }

      env {
        CARAVAN_AGENT_SOCKET = "${meta.caravan_socket}"
      }

      resources {
        cpu    = 10
        memory = 16
      }

      logs {
        max_files     = 1
        max_file_size = 1
      }
    }
  }
}
