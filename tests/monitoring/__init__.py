"""Metrics in use: alert rules, the dashboard, and a real Prometheus that scrapes the agent."""
