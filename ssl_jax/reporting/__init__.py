"""From the folders of a study's runs to tables, figures and pages."""
