"""The bench that measures stsd and what people use today side by side: `python bench`."""
