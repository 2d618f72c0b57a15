# The bucket, who may do what with it, and the cluster.
# Not tried: there was no Google Cloud project where this was written, and the provider could not be fetched, so
# `terraform validate` has not seen it. `terraform fmt` and tests/infra have.

locals {
  workload_pool = "${var.project}.svc.id.goog"
  # Kubernetes service accounts that act as a Google one: infra/kubernetes names the same.
  workload_identities = {
    "lesions-flow"       = google_service_account.flow.name
    "lesions-ray-head"   = google_service_account.ray.name
    "lesions-ray-worker" = google_service_account.ray.name
  }
  results_prefix = "prefect-results/"
  # A job's folder lies in its step's output: OUTPUT/jobs/ID (tasks/io/job_files.py)
  leftover_prefixes = concat([local.results_prefix], [for prefix in var.output_prefixes : "${prefix}jobs/"])
  object_root       = "projects/_/buckets/${google_storage_bucket.output.name}/objects/"
  flow_may_write = join(" || ", [
    for prefix in concat([local.results_prefix], var.output_prefixes) :
    "resource.name.startsWith(\"${local.object_root}${prefix}\")"
  ])
}

# ---- storage

resource "google_storage_bucket" "output" {
  name     = var.output_bucket
  location = var.region

  # No object has an access list of its own, and none can be made public.
  uniform_bucket_level_access = true
  public_access_prevention    = "enforced"

  # Masks and models that were replaced or deleted can be brought back for a while.
  versioning {
    enabled = true
  }

  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      days_since_noncurrent_time = var.noncurrent_days
    }
  }

  # Deletes the live version, too: what is left of runs that were never finished.
  lifecycle_rule {
    action {
      type = "Delete"
    }
    condition {
      age            = var.leftover_days
      matches_prefix = local.leftover_prefixes
      with_state     = "LIVE"
    }
  }

  lifecycle_rule {
    action {
      type = "AbortIncompleteMultipartUpload"
    }
    condition {
      age = 7
    }
  }

  lifecycle {
    prevent_destroy = true
  }
}

# ---- identities; no keys are made for any

resource "google_service_account" "flow" {
  account_id   = "lesions-flow"
  display_name = "Flow runs: ask, watch and report"
}

resource "google_service_account" "ray" {
  account_id   = "lesions-ray"
  display_name = "Ray: reads scans, writes outputs"
}

resource "google_service_account" "nodes" {
  account_id   = "lesions-nodes"
  display_name = "Nodes: pull images, write logs and metrics"
}

# A condition on object names cannot speak of listing, which is asked of the bucket; so it has a role of its own.
resource "google_project_iam_custom_role" "lister" {
  role_id     = "lesionsObjectLister"
  title       = "List objects"
  description = "Lists the objects of a bucket and reads none."
  permissions = ["storage.objects.list"]
}

resource "google_storage_bucket_iam_member" "flow_lists_outputs" {
  bucket = google_storage_bucket.output.name
  role   = google_project_iam_custom_role.lister.id
  member = google_service_account.flow.member
}

resource "google_storage_bucket_iam_member" "flow_writes_outputs" {
  bucket = google_storage_bucket.output.name
  role   = "roles/storage.objectUser"
  member = google_service_account.flow.member

  condition {
    title      = "only below the output prefixes and Prefect's results"
    expression = local.flow_may_write
  }
}

resource "google_storage_bucket_iam_member" "flow_reads_scans" {
  count = var.flow_reads_scans ? 1 : 0

  bucket = var.scans_bucket
  role   = "roles/storage.objectViewer"
  member = google_service_account.flow.member
}

resource "google_storage_bucket_iam_member" "ray_reads_scans" {
  bucket = var.scans_bucket
  role   = "roles/storage.objectViewer"
  member = google_service_account.ray.member
}

resource "google_storage_bucket_iam_member" "ray_writes_outputs" {
  bucket = google_storage_bucket.output.name
  role   = "roles/storage.objectUser"
  member = google_service_account.ray.member
}

resource "google_service_account_iam_member" "workload_identity" {
  for_each = local.workload_identities

  service_account_id = each.value
  role               = "roles/iam.workloadIdentityUser"
  member             = "serviceAccount:${local.workload_pool}[lesions/${each.key}]"

  # the pool comes into being with the first cluster that uses it
  depends_on = [google_container_cluster.lesions]
}

resource "google_project_iam_member" "nodes" {
  for_each = toset(["roles/container.defaultNodeServiceAccount", "roles/artifactregistry.reader"])

  project = var.project
  role    = each.value
  member  = google_service_account.nodes.member
}

# ---- cluster

resource "google_container_cluster" "lesions" {
  name           = "lesions"
  location       = var.region
  node_locations = var.zones

  network           = var.network
  subnetwork        = var.subnetwork
  networking_mode   = "VPC_NATIVE"
  datapath_provider = "ADVANCED_DATAPATH" # enforces the network policies

  remove_default_node_pool = true
  initial_node_count       = 1
  deletion_protection      = true
  enable_shielded_nodes    = true
  enable_legacy_abac       = false

  release_channel {
    channel = "REGULAR"
  }

  workload_identity_config {
    workload_pool = local.workload_pool
  }

  ip_allocation_policy {
    cluster_secondary_range_name  = var.pods_range
    services_secondary_range_name = var.services_range
  }

  private_cluster_config {
    enable_private_nodes    = true
    enable_private_endpoint = false
    master_ipv4_cidr_block  = var.control_plane_cidr
  }

  master_authorized_networks_config {
    dynamic "cidr_blocks" {
      for_each = var.operator_cidrs
      content {
        display_name = cidr_blocks.key
        cidr_block   = cidr_blocks.value
      }
    }
  }

  master_auth {
    client_certificate_config {
      issue_client_certificate = false
    }
  }

  # of the default pool, which is removed at once
  node_config {
    service_account = google_service_account.nodes.email

    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }
  }

  lifecycle {
    ignore_changes = [node_config]
  }
}

# Ray's head, flow runs, the Prefect worker and operators: never on nodes that can be taken away.
resource "google_container_node_pool" "system" {
  name               = "system"
  cluster            = google_container_cluster.lesions.id
  initial_node_count = 1

  autoscaling {
    total_min_node_count = 1
    total_max_node_count = 3
    location_policy      = "BALANCED"
  }

  node_config {
    machine_type    = "e2-standard-4"
    disk_size_gb    = 100
    service_account = google_service_account.nodes.email
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]
    labels          = { "lesions/pool" = "system" }

    workload_metadata_config {
      mode = "GKE_METADATA"
    }

    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }
  }

  management {
    auto_repair  = true
    auto_upgrade = true
  }
}

resource "google_container_node_pool" "cpu_spot" {
  name               = "cpu-spot"
  cluster            = google_container_cluster.lesions.id
  initial_node_count = 0

  autoscaling {
    total_min_node_count = 0
    total_max_node_count = var.max_cpu_nodes
    location_policy      = "ANY"
  }

  node_config {
    machine_type    = var.cpu_machine
    spot            = true
    disk_type       = "pd-ssd"
    disk_size_gb    = 150
    service_account = google_service_account.nodes.email
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]
    labels          = { "lesions/pool" = "cpu-spot" }

    # only what says that it can be taken away is put here
    taint {
      key    = "cloud.google.com/gke-spot"
      value  = "true"
      effect = "NO_SCHEDULE"
    }

    workload_metadata_config {
      mode = "GKE_METADATA"
    }

    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }
  }

  management {
    auto_repair  = true
    auto_upgrade = true
  }
}

resource "google_container_node_pool" "gpu_spot" {
  name               = "gpu-spot"
  cluster            = google_container_cluster.lesions.id
  initial_node_count = 0

  autoscaling {
    total_min_node_count = 0
    total_max_node_count = var.max_gpu_nodes
    location_policy      = "ANY"
  }

  node_config {
    machine_type    = var.gpu_machine
    spot            = true
    disk_type       = "pd-ssd"
    disk_size_gb    = 150
    service_account = google_service_account.nodes.email
    oauth_scopes    = ["https://www.googleapis.com/auth/cloud-platform"]
    labels          = { "lesions/pool" = "gpu-spot" }

    guest_accelerator {
      type  = var.gpu_type
      count = 1

      gpu_driver_installation_config {
        gpu_driver_version = "LATEST"
      }
    }

    taint {
      key    = "nvidia.com/gpu"
      value  = "present"
      effect = "NO_SCHEDULE"
    }

    taint {
      key    = "cloud.google.com/gke-spot"
      value  = "true"
      effect = "NO_SCHEDULE"
    }

    workload_metadata_config {
      mode = "GKE_METADATA"
    }

    # the drivers that GKE installs are signed
    shielded_instance_config {
      enable_secure_boot          = true
      enable_integrity_monitoring = true
    }
  }

  management {
    auto_repair  = true
    auto_upgrade = true
  }
}
