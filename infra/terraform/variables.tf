variable "project" {
  description = "Id of the Google Cloud project; nothing else should run in it, since scans are in its buckets."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{4,28}[a-z0-9]$", var.project))
    error_message = "A project id has 6 to 30 lower-case letters, digits and hyphens, and begins with a letter."
  }
}

variable "region" {
  description = "Region of bucket and cluster: traffic between regions costs, and scans may not leave theirs."
  type        = string

  validation {
    condition     = can(regex("^[a-z]+-[a-z]+[0-9]+$", var.region))
    error_message = "A region looks like europe-west3."
  }
}

variable "zones" {
  description = "Zones of the node pools; one is cheapest, since Ray's traffic then stays in it."
  type        = list(string)

  validation {
    condition = length(var.zones) > 0 && alltrue([
      for zone in var.zones : can(regex("^[a-z]+-[a-z]+[0-9]+-[a-z]$", zone))
    ])
    error_message = "At least one zone, each like europe-west3-b; GPUs are not in every zone."
  }
}

variable "scans_bucket" {
  description = "Name of the bucket that holds the scans; it exists already, and is only ever read."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$", var.scans_bucket))
    error_message = "The bucket's name alone, without gs://."
  }
}

variable "output_bucket" {
  description = "Name of the bucket that is made for datasets, models, evaluations, masks and Prefect's results."
  type        = string

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9._-]{1,61}[a-z0-9]$", var.output_bucket))
    error_message = "The bucket's name alone, without gs://."
  }
}

variable "output_prefixes" {
  description = "Prefixes in the output bucket that steps write to, each with a slash at its end."
  type        = list(string)
  default     = ["dataset/", "model/", "evaluation/", "masks/"]

  validation {
    condition = length(var.output_prefixes) > 0 && alltrue([
      for prefix in var.output_prefixes : can(regex("^[^/].*/$", prefix))
    ])
    error_message = "At least one prefix, each ending in a slash and not beginning with one."
  }
}

variable "flow_reads_scans" {
  description = "Whether flow runs may read the scans themselves: only a dry run needs it, all else is done by Ray."
  type        = bool
  default     = false
}

variable "noncurrent_days" {
  description = "Days that a replaced or deleted object can still be brought back."
  type        = number
  default     = 30

  validation {
    condition     = var.noncurrent_days >= 1 && var.noncurrent_days <= 365
    error_message = "From 1 to 365 days."
  }
}

variable "leftover_days" {
  description = "Days after which Prefect's results and the folders of jobs that never ended are removed."
  type        = number
  default     = 14

  validation {
    condition     = var.leftover_days >= 7 && var.leftover_days <= 365
    error_message = "From 7 to 365 days: a job's folder must outlive the job."
  }
}

variable "network" {
  description = "Name of the network; it needs Private Google Access, and Cloud NAT where ImageNet weights are fetched."
  type        = string
}

variable "subnetwork" {
  description = "Self link or name of the subnetwork of the nodes, in the region."
  type        = string
}

variable "pods_range" {
  description = "Name of the subnetwork's secondary range for pods."
  type        = string
}

variable "services_range" {
  description = "Name of the subnetwork's secondary range for services."
  type        = string
}

variable "control_plane_cidr" {
  description = "Range of the control plane, a /28; the same stands in infra/kubernetes/network-policy.yaml."
  type        = string
  default     = "172.16.0.0/28"

  validation {
    condition     = can(cidrhost(var.control_plane_cidr, 0)) && endswith(var.control_plane_cidr, "/28")
    error_message = "A range in CIDR notation that ends in /28."
  }
}

variable "operator_cidrs" {
  description = "Ranges from which operators reach the control plane, by name; never 0.0.0.0/0."
  type        = map(string)

  validation {
    condition = alltrue([
      for cidr in values(var.operator_cidrs) : can(cidrhost(cidr, 0)) && !endswith(cidr, "/0")
    ])
    error_message = "Ranges in CIDR notation, none of which is the whole internet."
  }
}

variable "cpu_machine" {
  description = "Machine type of the CPU pool: the pods of group `cpu` in raycluster.yaml are cut to it."
  type        = string
  default     = "n2-standard-8"
}

variable "gpu_machine" {
  description = "Machine type of the GPU pool: the pods of the GPU groups in raycluster.yaml are cut to it."
  type        = string
  default     = "n1-standard-4"
}

variable "gpu_type" {
  description = "GPU of a node of the GPU pool, one each."
  type        = string
  default     = "nvidia-tesla-t4"
}

variable "max_cpu_nodes" {
  description = "Most nodes of the CPU pool, in all zones together: a cap on what a night can cost."
  type        = number
  default     = 10

  validation {
    condition     = var.max_cpu_nodes >= 1 && floor(var.max_cpu_nodes) == var.max_cpu_nodes
    error_message = "A whole number from 1."
  }
}

variable "max_gpu_nodes" {
  description = "Most nodes of the GPU pool, in all zones together: a cap on what a night can cost."
  type        = number
  default     = 4

  validation {
    condition     = var.max_gpu_nodes >= 0 && floor(var.max_gpu_nodes) == var.max_gpu_nodes
    error_message = "A whole number from 0."
  }
}
