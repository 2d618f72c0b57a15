"""What every step needs of Prefect: addresses, logging, retries, slots, completeness, doctor."""
