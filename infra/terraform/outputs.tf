output "output_uri" {
  description = "Below it lie what steps write and, in prefect-results, what Prefect keeps."
  value       = "gs://${google_storage_bucket.output.name}"
}

output "results_uri" {
  description = "LESIONS_RESULTS_URI of `python -m infra.provision`."
  value       = "gs://${google_storage_bucket.output.name}/${trimsuffix(local.results_prefix, "/")}"
}

output "service_account_flow" {
  description = "Goes into the annotation of the service account lesions-flow, infra/kubernetes/prefect-worker.yaml."
  value       = google_service_account.flow.email
}

output "service_account_ray" {
  description = "Goes into the annotations of the service accounts of Ray, infra/kubernetes/raycluster.yaml."
  value       = google_service_account.ray.email
}

output "cluster" {
  description = "Name of the cluster, for `gcloud container clusters get-credentials`."
  value       = google_container_cluster.lesions.name
}
