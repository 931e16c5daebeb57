# SPDX-License-Identifier: Apache-2.0
"""What a build costs and promises: report.json and one self-contained HTML file."""
